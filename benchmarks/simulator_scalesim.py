"""SCALE-Sim on one product, for `benchmarks.simulator`; run by a Python that has `scalesim`.

    python -P benchmarks/simulator_scalesim.py M K N SIDE DATAFLOW

Prints the cycles it reports and the processor seconds of the simulation without imports.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from time import process_time

CONFIGURATION = """[general]
run_name = run
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
[architecture_presets]
ArrayHeight: {side}
ArrayWidth: {side}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: {dataflow}
ReadRequestBuffer: 64
WriteRequestBuffer: 64
[layout]
IfmapCustomLayout: False
FilterCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
"""


def main() -> None:
    """Simulate and print."""
    m, k, n, side = map(int, sys.argv[1:5])
    from scalesim.scale_sim import scalesim

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.cfg").write_text(CONFIGURATION.format(side=side, dataflow=sys.argv[5]))
        (folder / "gemm.csv").write_text(f"Layer,M,N,K,\nlayer,{m},{n},{k},\n")
        (folder / "layout.csv").write_text("Layer,\nlayer," + "1," * 40 + "\n")
        began = process_time()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            simulator = scalesim(
                save_disk_space=True,
                verbose=False,
                config=str(folder / "run.cfg"),
                topology=str(folder / "gemm.csv"),
                layout=str(folder / "layout.csv"),
                input_type_gemm=True,
            )
            simulator.run_scale(top_path=str(folder))
        seconds = process_time() - began
        report = next(folder.rglob("COMPUTE_REPORT.csv")).read_text().splitlines()
        titles = [title.strip() for title in report[0].split(",")]
        column = titles.index("Total Cycles")
        print(int(float(report[1].split(",")[column])), seconds)


if __name__ == "__main__":
    main()
