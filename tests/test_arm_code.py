"""The kernels as ARM code: NEON in every hot loop, and a counter that can be trusted to see it go away."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("unicorn", reason="runs ARM code (extra 'arm')")

import unicorn

from bench.arm import cycles, kernel_runs, loops, markdown, objects, peers, report, toolbox
from bench.arm.machine import Machine, Run
from edgedefend.dct import load_quant_table, quantize
from edgedefend.errors import EdgeDefendError
from edgedefend.grid import remap, sample_grid

SIDE = 224
TABLE = load_quant_table("feature-distillation")


def picture(side: int = SIDE) -> np.ndarray:
    """Waves and noise: coefficients of all frequencies, as a photograph has."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[0:side, 0:side]
    waves = 128 + 60 * np.sin(x / 17) + 40 * np.cos(y / 9)
    return np.clip(waves[..., None] + rng.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)


def cells(side: int = SIDE):
    return sample_grid(side, side, rng=np.random.default_rng(1))


@pytest.fixture(scope="module", params=report.CPUS)
def compiled(request, tmp_path_factory):
    """(cpu, object files), as `edgedefend warmup --target` makes them."""
    return request.param, objects.make_kernels(request.param, tmp_path_factory.mktemp("arm") / "kernels")


# --- the package's kernels --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", kernel_runs.ENCODINGS)
def test_every_hot_loop_of_the_fused_kernel_is_neon(compiled, kind):
    cpu, made = compiled
    (call,) = kernel_runs.record_fused(picture(), TABLE, cells(), kernel_runs.ENCODINGS[kind])
    kernel = kernel_runs.find_kernel(made, call)
    run, same = kernel.run(call, cpu)
    assert same, "the emulated code does not write what the native code writes"

    functions = loops.disassemble(kernel.program, kernel.symbol)
    hot = report.hot_loops(functions, run, {})
    inner = [row for row in hot if not row["outer"]]
    assert len(inner) >= 2
    assert sum(row["share"] for row in inner) > 0.85, "most of the work is not in loops any more"
    assert [row for row in inner if not row["neon"]] == []
    assert [row for row in hot if row["scalar float"]] == []

    executed = Counter(dict.fromkeys(loops.CLASSES, 0))
    for function in functions:
        for block in function.blocks.values():
            for instruction in block.instructions:
                executed[instruction.kind] += run.executed[instruction.address]
                executed["fma"] += run.executed[instruction.address] * instruction.is_fma
                if instruction.touches_stack:
                    executed["stack"] += run.executed[instruction.address]
    # Two passes there and two back, ten fused multiply-adds each, on two registers of four floats.
    blocks = 3 * (SIDE // 8) ** 2
    assert executed["fma"] >= 0.9 * 80 * blocks
    assert executed["scalar float"] == 0
    assert executed["vector"] > 0.6 * run.total
    assert executed["stack"] < 0.05 * run.total, "registers are spilled in the loops"


@pytest.mark.slow
@pytest.mark.parametrize("kind", kernel_runs.ENCODINGS)
def test_sides_that_are_no_multiple_of_8_stay_neon(compiled, kind):
    """299 is the side of Inception V3: what its last, partial blocks and groups add may not be felt."""
    cpu, made = compiled
    (call,) = kernel_runs.record_fused(picture(299), TABLE, cells(299), kernel_runs.ENCODINGS[kind])
    kernel = kernel_runs.find_kernel(made, call)
    run, same = kernel.run(call, cpu)
    assert same
    hot = report.hot_loops(loops.disassemble(kernel.program, kernel.symbol), run, {})
    assert sum(row["share"] for row in hot if row["neon"]) > 0.85
    assert sum(row["share"] for row in hot if not row["neon"] and not row["outer"]) < 0.04
    assert [row for row in hot if row["scalar float"]] == []


@pytest.mark.slow
def test_the_plain_kernels_are_seen_to_be_scalar(compiled):
    """What the test above looks at says no where the answer is no."""
    cpu, made = compiled
    first, second = kernel_runs.record_plain(picture(40), TABLE, cells(40))
    assert (first.name, second.name) == ("quantize_blocks", "gather")
    kernel = kernel_runs.find_kernel(made, first)
    run, same = kernel.run(first, cpu)
    assert same
    hot = report.hot_loops(loops.disassemble(kernel.program, kernel.symbol), run, {})
    assert any(row["scalar float"] and not row["neon"] for row in hot)


@pytest.mark.slow
def test_counting_by_blocks_is_counting_one_by_one(compiled):
    cpu, made = compiled
    (call,) = kernel_runs.record_fused(picture(45), TABLE, cells(45), kernel_runs.ENCODINGS["float32"])
    kernel = kernel_runs.find_kernel(made, call)
    machine = Machine(kernel.program, cpu)
    slow: Counter[int] = Counter()
    code = range(kernel.program.base, kernel.program.base + len(kernel.program.memory))
    machine._engine.hook_add(
        unicorn.UC_HOOK_CODE,
        lambda _engine, address, _size, _data: slow.update([address]),
        begin=code.start,
        end=code.stop,
    )
    run, _ = machine.call_kernel(kernel.symbol, call.before, call.parameters)
    assert run.executed == slow
    assert run.total > 10_000


@pytest.mark.slow
def test_a_kernel_that_warmup_does_not_make_is_named(compiled):
    _, made = compiled
    (call,) = kernel_runs.record_fused(picture(16), TABLE, cells(16), kernel_runs.ENCODINGS["uint8"])
    strange = kernel_runs.Call(call.module, call.name, call.parameters, call.types[:-1], call.before, call.after)
    with pytest.raises(EdgeDefendError, match="no kernel fused.defend_into was made for"):
        kernel_runs.find_kernel(made, strange)


# --- the loader, the loop finder and the machine, on code whose answers are known --------------------------------

NESTED = """
target triple = "aarch64-unknown-linux-gnu"
declare i64 @outside(i64)
@weights = global [4 x i64] [i64 1, i64 10, i64 100, i64 1000]
define i64 @helper(i64 %x) noinline optnone {
  ret i64 %x
}
define i64 @nested(i64 %n, i64 %m) {
entry:
  br label %outer
outer:
  %i = phi i64 [0, %entry], [%i1, %latch]
  %s = phi i64 [0, %entry], [%s2, %latch]
  %k = and i64 %i, 3
  %p = getelementptr [4 x i64], ptr @weights, i64 0, i64 %k
  %w = load volatile i64, ptr %p
  br label %inner
inner:
  %j = phi i64 [0, %outer], [%j1, %inner]
  %s1 = phi i64 [%s, %outer], [%s2, %inner]
  %h = call i64 @helper(i64 %w)
  %s2 = add i64 %s1, %h
  %j1 = add i64 %j, 1
  %more = icmp ult i64 %j1, %m
  br i1 %more, label %inner, label %latch
latch:
  %i1 = add i64 %i, 1
  %again = icmp ult i64 %i1, %n
  br i1 %again, label %outer, label %exit
exit:
  ret i64 %s2
}
define i64 @strays(i64 %x) {
  %y = call i64 @outside(i64 %x)
  ret i64 %y
}
define i64 @wild(i64 %x) {
  %p = inttoptr i64 %x to ptr
  %y = load i64, ptr %p
  ret i64 %y
}
"""


@pytest.fixture(scope="module")
def nested() -> objects.Program:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(cpu="cortex-a72", opt=2)
    module = llvm.parse_assembly(NESTED)
    return objects.link(target.emit_object(module))


def test_loops_inside_loops_are_told_apart_and_counted(nested):
    functions = {function.name: function for function in loops.disassemble(nested, "nested")}
    assert set(functions) == {"nested", "helper"}
    inner, outer = functions["nested"].loops
    assert (inner.outer, outer.outer) == (False, True)
    assert not {block.address for block in inner.blocks} & {block.address for block in outer.blocks}

    run, result = Machine(nested, "cortex-a72").call("nested", [6, 50])
    assert result == 50 * (1 + 10 + 100 + 1000 + 1 + 10)
    assert run.executed[inner.header] == 300
    assert run.executed[outer.header] == 6
    calls = [i for i in inner.instructions if i.name == "bl"]
    assert [nested.function_at(i.target) for i in calls] == ["helper"]


def test_code_that_leaves_its_memory_or_calls_out_is_named(nested):
    with pytest.raises(EdgeDefendError, match="the code calls outside: not provided"):
        Machine(nested, "cortex-a72").call("strays", [1])
    with pytest.raises(EdgeDefendError, match="wild stopped at 0x[0-9a-f]+ under emulation"):
        Machine(nested, "cortex-a72").call("wild", [0x10])


def test_an_x86_object_is_refused():
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine()
    with pytest.raises(EdgeDefendError, match="expected an AArch64 object file, this is EM_X86_64"):
        objects.link(target.emit_object(llvm.parse_assembly("define i64 @f() { ret i64 1 }")))


@pytest.mark.parametrize(
    ("name", "operands", "kind"),
    [
        ("fmla", "v0.4s, v1.4s, v2.4s", "vector"),
        ("dup", "v0.4s, w1", "vector"),
        ("fmov", "s0, w1", "vector"),
        ("fmadd", "s0, s1, s2, s3", "scalar float"),
        ("fadd", "d0, d1, d2", "scalar float"),
        ("scvtf", "s0, w0", "scalar float"),
        ("ldr", "q0, [x1], #0x10", "vector load/store"),
        ("ldp", "d8, d9, [sp, #0x10]", "vector load/store"),
        ("ldr", "s0, [x1]", "scalar load/store"),
        ("ldrb", "w0, [x1]", "scalar load/store"),
        ("add", "x0, x1, x2", "integer"),
        ("b.ne", "#0x10", "branch"),
        ("cbz", "w0, #0x10", "branch"),
    ],
)
def test_the_class_of_an_instruction(name, operands, kind):
    assert loops.Instruction(0, name, operands).kind == kind


def test_marks_of_an_instruction():
    assert loops.Instruction(0, "fmls", "v0.4s, v1.4s, v2.s[1]").is_fma
    assert not loops.Instruction(0, "fmadd", "s0, s1, s2, s3").is_fma
    assert loops.Instruction(0, "str", "q0, [sp, #0x20]").touches_stack
    assert not loops.Instruction(0, "str", "q0, [x0, #0x20]").touches_stack
    for name, operands in (("ldrb", "w0, [x1]"), ("str", "b0, [x1]"), ("ld1", "{v0.b}[3], [x1]")):
        assert loops.Instruction(0, name, operands).moves_bytes
    assert not loops.Instruction(0, "ldr", "q0, [x1]").moves_bytes


# --- tools that may be missing ----------------------------------------------------------------------------------


def test_what_is_missing_is_said_in_one_line_each(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    box = toolbox.find(tmp_path / "nothing")
    lines = box.missing()
    assert [line.split(":")[0] for line in lines] == ["no C peers", "no cycle brackets"]
    assert all("install" in line and "\n" not in line for line in lines)
    with pytest.raises(EdgeDefendError, match="finds no apt-get here"):
        toolbox.fetch(tmp_path / "nothing")


@pytest.mark.slow
def test_the_command_without_the_tools(run_cli, tmp_path):
    """It reports what Python packages alone can tell, and says what it left out."""
    result = run_cli(
        *("bench", "arm-report", "--cpu", "cortex-a72", "--size", 40, "--no-fetch", "--tools", tmp_path / "none"),
        *("--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md", "--listing", tmp_path / "code"),
        env={"PATH": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    data = json.loads((tmp_path / "r.json").read_text())
    assert {way["way"] for way in data["ways"]} == {"fused", "plain"}
    assert all(way["identical_to_native"] and way["cycles"] is None for way in data["ways"])
    (ratio,) = data["ratios"]
    assert ratio["instructions"] > 1
    text = (tmp_path / "r.md").read_text()
    assert text == markdown.render(data)
    assert text in result.stdout
    assert "no cycle brackets: install llvm-19" in text
    code = (tmp_path / "code" / "cortex-a72.s").read_text()
    assert len(re.findall(r"^// .* of all instructions", code, re.MULTILINE)) == len(
        {row["header"] for row in data["loops"]}
    )
    assert code.count("\tfmla\t") > 10
    assert "image + scratch -> scratch" in text or "image -> scratch" in text


def the_tools() -> toolbox.Toolbox:
    return toolbox.find(Path(__file__).resolve().parent.parent / "build" / "arm")


@pytest.mark.skipif(the_tools().compiler is None, reason="no C compiler for ARM: make arm-report brings one")
@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_does_the_same_work(name):
    """The comparison is fair only if the other side computes the defended image too."""
    box = the_tools()
    if name != "plain C" and box.libjpeg is None:
        pytest.skip("no source of libjpeg-turbo: make arm-report brings it")
    # libjpeg-turbo subtracts 128 first: with a table that divides 8 * 128 the quantiser's steps are the same.
    image, table, grid = picture(61), np.full((8, 8), 32, np.float32), cells(61)
    _, out = peers.call(name, peers.build(name, "cortex-a72", box), "cortex-a72", image, table, grid)
    difference = np.abs(out.astype(int) - remap(quantize(image, table), grid))
    if name == "plain C":
        assert (difference > 0).mean() < 0.01  # ties
    else:
        assert difference.mean() < 0.5  # 16-bit numbers are rounded on the way: a coefficient near a tie goes astray


def test_a_table_that_libjpeg_cannot_hold_is_named():
    with pytest.raises(EdgeDefendError, match="tables of 1 to 255"):
        peers._jpeg_tables(np.full((8, 8), 300, np.float32))


@pytest.mark.skipif(the_tools().llvm_mca is None, reason="no llvm-mca 19: make arm-report brings it")
@pytest.mark.parametrize("cpu", report.CPUS)
def test_the_bracket_of_a_chain_and_of_what_is_independent(cpu):
    """Multiplications that wait for one another take their latencies; others only as long as the pipes are busy."""
    fmul_latency, per_cycle = {"cortex-a72": (5, 1), "cortex-a76": (3, 2)}[cpu]
    run = Run(Counter({0: 3}), Counter())

    def bracket(*operands: str) -> cycles.Bracket:
        code = tuple(loops.Instruction(4 * k, "fmul", text) for k, text in enumerate(operands))
        return cycles.bracket([loops.Block(code, ())], run, cpu, the_tools())

    chain = bracket(*["v0.4s, v0.4s, v1.4s"] * 20)
    apart = bracket(*[f"v{k}.4s, v30.4s, v31.4s" for k in range(20)])
    assert chain.lower == apart.lower == 3 * 20 / per_cycle
    assert chain.upper >= 3 * 20 * fmul_latency
    assert apart.lower < apart.upper < chain.upper / 2


def test_sources_of_packages_are_asked_for_source_too(tmp_path, monkeypatch):
    if shutil.which("apt-config") is None:
        pytest.skip("no apt here")
    apt = toolbox._private_apt(tmp_path)
    written = "".join(file.read_text() for file in (tmp_path / "apt/sources").iterdir())
    assert "deb-src" in written
    shown = subprocess.run([*apt[:1], *apt[2:], "--version"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
