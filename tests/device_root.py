"""Folders that stand for "/" of a device: what its kernel, driver and tools write there, in the forms they write."""

from pathlib import Path

GPU_CLOCK = "sys/class/devfreq/17000000.gpu"
POLICY = "sys/devices/system/cpu/cpufreq/policy{}"

JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 62.50\nFeatures\t: fp asimd asimddp\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd42\nCPU revision\t: 1\n\nprocessor\t: 1\n",
    "proc/self/status": "Name:\tappliance\nCpus_allowed:\t3f\nCpus_allowed_list:\t0-5\nMems_allowed_list:\t0\n",
    "proc/meminfo": "MemTotal:        7802836 kB\nMemFree:         5113196 kB\n",
    "proc/sys/kernel/osrelease": "5.15.148-tegra\n",
    "sys/devices/system/cpu/online": "0-5\n",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  "
    "(buildbrain@mobile-u64-6336-d8000)  Tue Jan  7 17:35:12 PST 2025\nGCC version:  collect2: error: ld returned 1\n",
    "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n",
    "etc/nvpmodel.conf": "# < POWER_MODEL ID=2 NAME=IN_A_COMMENT >\n< PARAM TYPE=FILE NAME=CPU_ONLINE >\n"
    "< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=1 NAME=25W >\n"
    "< POWER_MODEL ID=2 NAME=MAXN_SUPER >\nGPU MAX_FREQ -1\n< PM_CONFIG DEFAULT=1 >\n",
    f"{GPU_CLOCK}/min_freq": "306000000\n",
    f"{GPU_CLOCK}/max_freq": "1020000000\n",
    "sys/class/devfreq/15340000.vic/min_freq": "115200000\n",
    "sys/class/devfreq/15340000.vic/max_freq": "601600000\n",
} | {
    f"{POLICY.format(policy)}/{name}": value
    for policy in (0, 4)
    for name, value in {
        "scaling_governor": "schedutil\n", "scaling_min_freq": "729600\n", "scaling_max_freq": "1728000\n",
    }.items()
}  # fmt: skip
"""A Jetson Orin Nano with JetPack 6.2."""

PANEL_PC = {
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: 13th Gen Intel(R) Core(TM) i5-1335UE\n"
    "flags\t\t: fpu avx2 avx_vnni\n\nprocessor\t: 1\nmodel name\t: another\n",
    "proc/self/status": "Name:\tappliance\nCpus_allowed_list:\t0-3,8\n",
    "proc/meminfo": "MemTotal:       16106820 kB\n",
    "proc/sys/kernel/osrelease": "6.8.0-49-generic\n",
    "sys/devices/system/cpu/online": "0-11\n",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0\n",
    "sys/module/nvidia/version": "550.54.15\n",
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX A2000\nIRQ:   \t\t 141\n"
    "GPU UUID: \t GPU-00000000-0000-0000-0000-000000000000\nVideo BIOS: \t 94.06.2f.00.8b\n",
    f"{POLICY.format(0)}/scaling_governor": "powersave\n",
    f"{POLICY.format(0)}/scaling_min_freq": "400000\n",
    f"{POLICY.format(0)}/scaling_max_freq": "4500000\n",
    f"{POLICY.format(10)}/scaling_governor": "powersave\n",
    f"{POLICY.format(10)}/scaling_min_freq": "400000\n",
    f"{POLICY.format(10)}/scaling_max_freq": "3300000\n",
    f"{POLICY.format(2)}/scaling_governor": "powersave\n",
    f"{POLICY.format(2)}/scaling_min_freq": "400000\n",
    f"{POLICY.format(2)}/scaling_max_freq": "4500000\n",
}
"""A panel PC with a card of NVIDIA."""


def write(root: Path, files: dict[str, str]) -> Path:
    """Write files below a root, each at once as the kernel does, over what is there; returns the root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unseen = path.with_name(f".{path.name}")
        unseen.write_text(content, encoding="utf-8")
        unseen.replace(path)
    return root


CALM = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51281\n",
    "sys/class/thermal/thermal_zone1/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "97468\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone2/temp": "-256000\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "3\n",
    "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
    "sys/class/thermal/cooling_device1/cur_state": "0\n",
    "sys/class/thermal/cooling_device2/type": "gpu-throttle-alert\n",
    "sys/class/thermal/cooling_device2/cur_state": "0\n",
    "sys/class/thermal/cooling_device3/type": "hot-surface-alert\n",
    "sys/class/thermal/cooling_device3/cur_state": "0\n",
    "sys/class/hwmon/hwmon0/name": "pwmfan\n",
    "sys/class/hwmon/hwmon3/name": "soctherm_oc\n",
    "sys/class/hwmon/hwmon3/oc1_event_cnt": "0\n",
    "sys/class/hwmon/hwmon3/oc1_throt_en": "1\n",
    "sys/class/hwmon/hwmon3/oc2_event_cnt": "15\n",
    "sys/class/hwmon/hwmon3/oc2_throt_en": "0\n",
    "sys/class/hwmon/hwmon3/oc3_event_cnt": "37\n",
    "sys/class/hwmon/hwmon3/oc3_throt_en": "1\n",
} | {
    f"sys/devices/system/cpu/cpu{core}/thermal_throttle/{name}": value
    for core in (0, 1)
    for name, value in {"core_throttle_count": "4\n", "package_throttle_count": "9\n"}.items()
}
"""What tells of heat and current, while nothing is held back: all kinds at once, which no single device has."""

HOT_GPU = {"sys/class/thermal/cooling_device2/cur_state": "1\n"}
COOL_GPU = {"sys/class/thermal/cooling_device2/cur_state": "0\n"}
