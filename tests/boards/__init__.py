"""Boards that no machine here is: file trees below a folder, and what their tools answer.

Each maker writes the files of one board below `root` and returns its `Tools`. The contents follow what such boards
print (see the sources named in `edgedefend.raspberry_pi` and `edgedefend.jetson`); tests change single files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgedefend.device import Device


class Tools:
    """Answers commands from a table of their first words; notes what was asked. A missing tool is None."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str]) -> str | None:
        line = " ".join(command)
        self.asked.append(line)
        fitting = [said for words, said in self.answers.items() if line == words or line.startswith(words + " ")]
        return fitting[-1] if fitting else None


def put(root: Path, name: str, content: str | bytes) -> None:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def device_tree(root: Path, model: str, *compatible: str) -> None:
    put(root, "/proc/device-tree/model", model.encode() + b"\0")
    put(root, "/proc/device-tree/compatible", b"".join(name.encode() + b"\0" for name in compatible))


ARM_FEATURES = "fp asimd evtstrm crc32 cpuid"


def userland(root: Path, python: str = "3.11", *, bits: int = 64, machine: int = 0xB7, libc: str = "2.36-9") -> None:
    """What tells which wheels fit: a Python (the head of its ELF file), the C library's package, the groups."""
    elf = b"\x7fELF" + bytes([bits // 32]) + bytes(11) + b"\2\0" + machine.to_bytes(2, "little") + bytes(64)
    put(root, f"/usr/bin/python{python}", elf)
    link = root / "usr/bin/python3"
    link.unlink(missing_ok=True)
    link.symlink_to(f"python{python}")
    put(root, "/var/lib/dpkg/status", f"Package: libc6\nStatus: install ok installed\nVersion: {libc}\n\n")
    put(root, "/etc/group", "root:x:0:\nvideo:x:44:pi\n")


def arm_cores(
    root: Path, part: str, cores: int, *, features: str = ARM_FEATURES, memory_mb: int, model: str = ""
) -> None:
    core = (
        "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: {f}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: {p}\nCPU revision\t: 3\n\n"
    )
    text = "".join(core.format(n=n, f=features, p=part) for n in range(cores))
    put(root, "/proc/cpuinfo", text + (f"Revision\t: c03115\nModel\t\t: {model}\n" if model else ""))
    put(root, "/proc/meminfo", f"MemTotal:       {memory_mb * 1024} kB\nMemAvailable:   {memory_mb * 700} kB\n")
    userland(root)


def clocks(root: Path, cores: int, khz: int, governor: str) -> None:
    for core in range(cores):
        folder = f"/sys/devices/system/cpu/cpu{core}/cpufreq"
        put(root, f"{folder}/scaling_governor", governor + "\n")
        put(root, f"{folder}/scaling_available_governors", "conservative ondemand userspace powersave performance \n")
        put(root, f"{folder}/scaling_cur_freq", f"{khz}\n")


def pi(root: Path, model: str, chip: str, slug: str, part: str, khz: int, memory_mb: int) -> Tools:
    device_tree(root, model, f"raspberrypi,{slug}", f"brcm,{chip}")
    features = ARM_FEATURES + (" aes pmull sha1 sha2 atomics asimddp" if part == "0xd0b" else "")
    arm_cores(root, part, 4, features=features, memory_mb=memory_mb, model=model)
    clocks(root, 4, khz, "ondemand")
    put(root, "/sys/class/thermal/thermal_zone0/temp", "48686\n")
    put(root, "/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    put(root, "/proc/sys/kernel/osrelease", "6.12.47+rpt-rpi-v8\n")
    put(root, "/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n')
    put(root, "/boot/firmware/config.txt", PI_CONFIG)
    return Tools(
        {
            "vcgencmd get_throttled": "throttled=0x0\n",
            "vcgencmd measure_clock arm": f"frequency(0)={khz * 1000 + 88}\n",
        }
    )


PI_CONFIG = """# For more options and information see
# http://rptl.io/configtxt
# Some settings may impact device functionality. See link above for details

# Uncomment some or all of these to enable the optional hardware interfaces
#dtparam=i2c_arm=on
dtparam=audio=on
camera_auto_detect=1
display_auto_detect=1
auto_initramfs=1
dtoverlay=vc4-kms-v3d
max_framebuffers=2
disable_fw_kms_setup=1
arm_64bit=1
disable_overscan=1
arm_boost=1

[cm4]
otg_mode=1

[cm5]
dtoverlay=dwc2,dr_mode=host

[all]
"""


def pi_4(root: Path) -> Tools:
    return pi(root, "Raspberry Pi 4 Model B Rev 1.5", "bcm2711", "4-model-b", "0xd08", 1800000, 3791)


def pi_5(root: Path) -> Tools:
    tools = pi(root, "Raspberry Pi 5 Model B Rev 1.0", "bcm2712", "5-model-b", "0xd0b", 2400000, 8063)
    tools.answers["vcgencmd pmic_read_adc EXT5V_V"] = "    EXT5V_V volt(24)=5.15350000V\n"
    return tools


def pi_zero_2w(root: Path) -> Tools:
    return pi(root, "Raspberry Pi Zero 2 W Rev 1.0", "bcm2837", "model-zero-2-w", "0xd03", 1000000, 416)


def jetson(root: Path, model: str, board: str, cores: int, memory_mb: int, modes: dict[str, int], mode: str) -> Tools:
    device_tree(root, model, f"nvidia,{board}", "nvidia,tegra234")
    features = (
        ARM_FEATURES + " aes pmull sha1 sha2 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp uscat ilrcpc flagm"
    )
    arm_cores(root, "0xd42", cores, features=features, memory_mb=memory_mb)
    clocks(root, cores, 1510400, "schedutil")
    for number, (zone, temperature) in enumerate(
        {"cpu-thermal": 51343, "gpu-thermal": 49000, "tj-thermal": 51500}.items()
    ):
        put(root, f"/sys/class/thermal/thermal_zone{number}/type", zone + "\n")
        put(root, f"/sys/class/thermal/thermal_zone{number}/temp", f"{temperature}\n")
    put(root, "/sys/class/hwmon/hwmon0/name", "tmp451\n")
    put(root, "/sys/class/hwmon/hwmon1/name", "ina3221\n")
    for channel, rail in enumerate(("VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"), 1):
        put(root, f"/sys/class/hwmon/hwmon1/in{channel}_label", rail + "\n")
        put(root, f"/sys/class/hwmon/hwmon1/curr{channel}_crit_alarm", "0\n")
    put(root, "/sys/class/hwmon/hwmon2/name", "soctherm_oc\n")
    for event in (1, 2, 3):
        put(root, f"/sys/class/hwmon/hwmon2/oc{event}_event_cnt", "0\n")
    for number, cooler in enumerate(("pwm-fan", "cpu-throttle-alert", "gpu-throttle-alert")):
        put(root, f"/sys/class/thermal/cooling_device{number}/type", cooler + "\n")
        put(root, f"/sys/class/thermal/cooling_device{number}/cur_state", "1\n" if cooler == "pwm-fan" else "0\n")
    put(root, "/proc/sys/kernel/osrelease", "5.15.148-tegra\n")
    put(root, "/etc/os-release", 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nID=ubuntu\n')
    userland(root, "3.10", libc="2.35-0ubuntu3.8")
    put(
        root,
        "/etc/nv_tegra_release",
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n",
    )
    conf = "".join(
        f"< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_0 1\n\n" for name, number in modes.items()
    )
    put(root, "/etc/nvpmodel.conf", "# FORMAT:\n# < POWER_MODEL ID=id NAME=name >\n" + conf)
    put(root, "/var/lib/nvpmodel/status", f"pmode:{modes[mode]:04d}\n")
    listed = "".join(f"NVPM VERB: POWER_MODEL: ID={number} NAME={name}\n" for name, number in modes.items())
    load = ",".join(["12%@1510"] * (cores - 2) + ["0%@729", "off"])
    return Tools(
        {
            "nvpmodel -q": f"NV Power Mode: {mode}\n{modes[mode]}\n",
            "nvpmodel -p --verbose": "NVPM VERB: Config file: /etc/nvpmodel.conf\n" + listed,
            "timeout 0.8 tegrastats": (
                f"11-24-2026 05:00:00 RAM 2448/{memory_mb}MB (lfb 2x4MB) SWAP 0/3810MB (cached 0MB) CPU [{load}] "
                "EMC_FREQ 0%@2133 GR3D_FREQ 7%@[305] NVDEC off cpu@51.343C soc2@50C tboard@41.2C gpu@49C cv0@-256C "
                "tj@51.5C VDD_IN 4824mW/4790mW VDD_CPU_GPU_CV 725mW/690mW VDD_SOC 1451mW/1440mW\n"
            ),
        }
    )


def jetson_orin_nano(root: Path) -> Tools:
    model = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    tools = jetson(
        root, model, "p3768-0000+p3767-0005-super", 6, 7620, {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}, "15W"
    )
    return tools


def jetson_orin_nx(root: Path) -> Tools:
    model = "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    return jetson(root, model, "p3768-0000+p3767-0000", 8, 15656, {"MAXN": 0, "10W": 1, "15W": 2, "25W": 3}, "15W")


def jetson_agx_orin(root: Path) -> Tools:
    model = "NVIDIA Jetson AGX Orin Developer Kit"
    return jetson(root, model, "p3737-0000+p3701-0005", 12, 62841, {"MAXN": 0, "15W": 1, "30W": 2, "50W": 3}, "30W")


def generic_arm64(root: Path) -> Tools:
    device_tree(root, "linux,dummy-virt", "linux,dummy-virt")
    arm_cores(root, "0xd0c", 4, features=ARM_FEATURES + " atomics asimddp", memory_mb=3900)
    put(root, "/proc/sys/kernel/osrelease", "6.1.0-28-arm64\n")
    put(root, "/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    return Tools({})


def x86(root: Path) -> Tools:
    core = "processor\t: {n}\nmodel name\t: Intel(R) N100\nflags\t\t: fpu sse4_2 avx avx2 fma\n\n"
    put(root, "/proc/cpuinfo", "".join(core.format(n=n) for n in range(4)))
    put(root, "/proc/meminfo", "MemTotal:       8021244 kB\nMemAvailable:   7021244 kB\n")
    userland(root, "3.12", machine=0x3E)
    put(root, "/proc/sys/kernel/osrelease", "6.8.0-49-generic\n")
    put(root, "/etc/os-release", 'PRETTY_NAME="Ubuntu 24.04.1 LTS"\n')
    put(root, "/sys/class/dmi/id/sys_vendor", "ACME\n")
    put(root, "/sys/class/dmi/id/product_name", "Mini PC\n")
    clocks(root, 4, 2900000, "powersave")
    put(root, "/sys/class/thermal/thermal_zone0/type", "acpitz\n")
    put(root, "/sys/class/thermal/thermal_zone0/temp", "27800\n")
    put(root, "/sys/class/thermal/thermal_zone1/type", "x86_pkg_temp\n")
    put(root, "/sys/class/thermal/thermal_zone1/temp", "55000\n")
    for core_number, events in enumerate((0, 3, 0, 0)):
        folder = f"/sys/devices/system/cpu/cpu{core_number}/thermal_throttle"
        put(root, f"{folder}/core_throttle_count", f"{events}\n")
        put(root, f"{folder}/package_throttle_count", "0\n")
    return Tools({})


BOARDS: dict[str, Callable[[Path], Tools]] = {
    "pi-4": pi_4,
    "pi-5": pi_5,
    "pi-zero-2w": pi_zero_2w,
    "jetson-orin-nano": jetson_orin_nano,
    "jetson-orin-nx": jetson_orin_nx,
    "jetson-agx-orin": jetson_agx_orin,
    "generic-arm64": generic_arm64,
    "x86": x86,
}


def board(name: str, root: Path) -> Device:
    """Write the files of a board below `root`; return its `Device`, whose `run` is the `Tools`."""
    return Device(root, BOARDS[name](root))
