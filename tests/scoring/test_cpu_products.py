"""Products by either library are the same product, and layers get their own forward back."""

from __future__ import annotations

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from forecast.scoring import cpu_products


@pytest.fixture(params=[True, False], ids=["onednn", "mkl"])
def either_library(request, monkeypatch) -> bool:
    if request.param and not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: request.param)
    return request.param


@pytest.mark.parametrize("rows", [(1,), (3, 7), (1, 130)])
@pytest.mark.parametrize("biased", [True, False])
@torch.inference_mode()
def test_linear_is_the_product(either_library, rows, biased):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(*rows, 48), torch.randn(80, 48), torch.randn(80) if biased else None
    exact = x.double() @ weight.double().T + (bias.double() if biased else 0.0)
    torch.testing.assert_close(cpu_products.linear(x, weight, bias).double(), exact, rtol=1e-5, atol=1e-5)
    part = cpu_products.linear(x, weight[16:48], None).double()
    torch.testing.assert_close(part, x.double() @ weight[16:48].double().T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_keep_theirs(either_library, dtype):
    x, weight = torch.randn(4, 8, dtype=dtype), torch.randn(6, 8, dtype=dtype)
    assert torch.equal(cpu_products.linear(x, weight, None), torch.nn.functional.linear(x, weight))


@torch.inference_mode()
def test_layers_multiply_faster_only_for_a_while(monkeypatch):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: True)
    calls = []
    onednn = cpu_products._onednn
    monkeypatch.setattr(cpu_products, "_onednn", lambda *args: calls.append(1) or onednn(*args))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(24, 40), torch.nn.GELU(), Conv1D(16, 40), torch.nn.Bilinear(16, 16, 4))
    x = torch.randn(5, 24)
    plain = model[:3](x)
    layers = cpu_products.replaceable(model)
    assert [type(layer) for layer in layers] == [torch.nn.Linear, Conv1D]
    with cpu_products.fast_products(layers):
        torch.testing.assert_close(model[:3](x), plain, rtol=1e-5, atol=1e-6)
        assert len(calls) == 2
    model[:3](x)
    assert len(calls) == 2


def test_a_layer_with_a_forward_of_its_own_is_left_alone(monkeypatch):
    monkeypatch.setattr(cpu_products, "onednn_is_faster", lambda: True)
    hooked, half, free = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4).bfloat16(), torch.nn.Linear(4, 4)
    hooked.forward = lambda x: x
    assert cpu_products.replaceable(torch.nn.ModuleList([hooked, half, free])) == [free]


@pytest.mark.parametrize(
    ("vendor", "capability", "expected"),
    [
        ("AuthenticAMD", "AVX512", True),
        ("AuthenticAMD", "AVX2", False),
        ("GenuineIntel", "AVX512", False),
        ("", "AVX512", False),
    ],
)
def test_the_choice_follows_from_the_processor(monkeypatch, vendor, capability, expected):
    monkeypatch.setattr(cpu_products, "_vendor", lambda: vendor)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    cpu_products.onednn_is_faster.cache_clear()
    try:
        assert cpu_products.onednn_is_faster() is expected
    finally:
        cpu_products.onednn_is_faster.cache_clear()
