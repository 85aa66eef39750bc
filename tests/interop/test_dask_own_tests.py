"""A slice of dask's own tests of arrays, bags, tables and promises, from the installed wheel, on our executors.

Dask's scheduler is ours while they run, under every name that they ask for (`assert_eq` says scheduler="sync").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

import pytest

pytest.importorskip("dask.array")
pytest.importorskip("dask.dataframe")

pytestmark = [pytest.mark.usefixtures("under_dask"), pytest.mark.filterwarnings("ignore")]

SLICE: Mapping[str, str] = {
    "array.tests.test_slicing": """
        test_slice_1d test_slice_array_2d test_slicing_with_newaxis test_take test_take_sorted
        test_slicing_with_numpy_arrays test_slicing_identities test_empty_slice test_multiple_list_slicing
        test_boolean_numpy_array_slicing test_index_with_bool_dask_array
        test_negative_n_slicing test_vindex_with_dask_array test_slice_masked_arrays""",
    "array.tests.test_reductions": """
        test_reductions_0D test_arg_reductions_unknown_chunksize test_nan test_0d_array test_reduction_on_scalar
        test_tree_reduce_depth test_trace test_object_reduction
        test_moment""",
    "array.tests.test_rechunk": """
        test_rechunk_1d test_rechunk_2d test_rechunk_4d test_rechunk_expand test_rechunk_with_dict
        test_rechunk_empty test_rechunk_zero_dim_array test_rechunk_unknown_from_array test_rechunk_down""",
    "array.tests.test_routines": """
        test_transpose test_tensordot_2 test_dot_method test_vdot test_outer test_diff
        test_bincount test_searchsorted test_histogram test_histogram_delayed_bins test_cov test_unique_kwargs
        test_where test_choose test_select test_argwhere""",
    "array.tests.test_array_core": """
        test_chunked_dot_product test_chunked_transpose_plus_one test_Array_computation test_concatenate
        test_block_3d test_elemwise_differently_chunked test_matmul test_broadcast_operator
        test_map_blocks test_map_blocks_block_info test_map_blocks_with_kwargs test_from_delayed test_to_delayed
        test_setitem_1d""",
    "array.tests.test_map_blocks": "test_map_blocks_block_id_fusion",
    "array.tests.test_overlap": "test_overlap_internal test_map_overlap test_map_overlap_multiarray",
    "array.tests.test_linalg": "test_cholesky test_lstsq",
    "bag.tests.test_bag": """
        test_map_with_collection_argument test_foldby test_foldby_tree_reduction test_groupby test_map_partitions
        test_fold test_distinct test_topk test_frequencies test_reductions test_join test_zip test_accumulate
        test_from_delayed test_to_delayed""",
    "dataframe.tests.test_groupby": "test_full_groupby",
    "dataframe.tests.test_multi": "test_concat test_merge_asof_indexed test_merge_asof_on_basic",
    "dataframe.tests.test_shuffle": "test_shuffle",
    "tests.test_delayed": """
        test_delayed test_operators test_methods test_attributes test_lists test_nested_list_of_delayed
        test_iterators test_dask_layers test_delayed_compute_forward_kwargs
        test_array_delayed test_array_bag_delayed test_delayed_callable test_nout test_kwargs
        test_keys_from_array test_finalize_name test_annotations_survive_optimization""",
}


def _of_dask() -> Mapping[str, object]:
    """Return the tests by name, with their module's; those that this version of dask does not have are left out."""
    found = {}
    for place, names in SLICE.items():
        module = import_module(f"dask.{place}")
        for name in names.split():
            if hasattr(module, name):
                found[f"test_{place.replace('.tests.test_', '_').replace('.', '_')}__{name}"] = getattr(module, name)
    return found


globals().update(_of_dask())


@pytest.fixture(params=["disk", "tasks"])
def shuffle_method(request: pytest.FixtureRequest) -> Iterator[str]:
    """A fixture of dask's own."""
    import dask

    with dask.config.set({"dataframe.shuffle.method": request.param}):
        yield request.param
