//! `/proc/cpuinfo`: what the processor says of itself, once per processor shown.

use abi::Result;
use kernel::Task;

use super::system::put;

/// (leaf, sub-leaf, register 0 to 3 for eax to edx, bit, name) of the features that programs look for.
const FEATURES: &[(u32, u32, usize, u32, &str)] = &[
    (1, 0, 3, 0, "fpu"),
    (1, 0, 3, 1, "vme"),
    (1, 0, 3, 2, "de"),
    (1, 0, 3, 3, "pse"),
    (1, 0, 3, 4, "tsc"),
    (1, 0, 3, 5, "msr"),
    (1, 0, 3, 6, "pae"),
    (1, 0, 3, 7, "mce"),
    (1, 0, 3, 8, "cx8"),
    (1, 0, 3, 9, "apic"),
    (1, 0, 3, 11, "sep"),
    (1, 0, 3, 12, "mtrr"),
    (1, 0, 3, 13, "pge"),
    (1, 0, 3, 14, "mca"),
    (1, 0, 3, 15, "cmov"),
    (1, 0, 3, 16, "pat"),
    (1, 0, 3, 17, "pse36"),
    (1, 0, 3, 19, "clflush"),
    (1, 0, 3, 23, "mmx"),
    (1, 0, 3, 24, "fxsr"),
    (1, 0, 3, 25, "sse"),
    (1, 0, 3, 26, "sse2"),
    (1, 0, 3, 27, "ss"),
    (1, 0, 3, 28, "ht"),
    (0x8000_0001, 0, 3, 11, "syscall"),
    (0x8000_0001, 0, 3, 20, "nx"),
    (0x8000_0001, 0, 3, 26, "pdpe1gb"),
    (0x8000_0001, 0, 3, 27, "rdtscp"),
    (0x8000_0001, 0, 3, 29, "lm"),
    (0x8000_0007, 0, 3, 8, "constant_tsc"),
    (1, 0, 2, 0, "pni"),
    (1, 0, 2, 1, "pclmulqdq"),
    (1, 0, 2, 9, "ssse3"),
    (1, 0, 2, 12, "fma"),
    (1, 0, 2, 13, "cx16"),
    (1, 0, 2, 17, "pcid"),
    (1, 0, 2, 19, "sse4_1"),
    (1, 0, 2, 20, "sse4_2"),
    (1, 0, 2, 21, "x2apic"),
    (1, 0, 2, 22, "movbe"),
    (1, 0, 2, 23, "popcnt"),
    (1, 0, 2, 25, "aes"),
    (1, 0, 2, 26, "xsave"),
    (1, 0, 2, 28, "avx"),
    (1, 0, 2, 29, "f16c"),
    (1, 0, 2, 30, "rdrand"),
    (1, 0, 2, 31, "hypervisor"),
    (0x8000_0001, 0, 2, 0, "lahf_lm"),
    (0x8000_0001, 0, 2, 5, "abm"),
    (0x8000_0001, 0, 2, 6, "sse4a"),
    (0x8000_0001, 0, 2, 8, "3dnowprefetch"),
    (7, 0, 1, 0, "fsgsbase"),
    (7, 0, 1, 3, "bmi1"),
    (7, 0, 1, 5, "avx2"),
    (7, 0, 1, 7, "smep"),
    (7, 0, 1, 8, "bmi2"),
    (7, 0, 1, 9, "erms"),
    (7, 0, 1, 10, "invpcid"),
    (7, 0, 1, 16, "avx512f"),
    (7, 0, 1, 17, "avx512dq"),
    (7, 0, 1, 18, "rdseed"),
    (7, 0, 1, 19, "adx"),
    (7, 0, 1, 20, "smap"),
    (7, 0, 1, 21, "avx512ifma"),
    (7, 0, 1, 23, "clflushopt"),
    (7, 0, 1, 24, "clwb"),
    (7, 0, 1, 28, "avx512cd"),
    (7, 0, 1, 29, "sha_ni"),
    (7, 0, 1, 30, "avx512bw"),
    (7, 0, 1, 31, "avx512vl"),
    (0xd, 1, 0, 0, "xsaveopt"),
    (0xd, 1, 0, 1, "xsavec"),
    (0xd, 1, 0, 2, "xgetbv1"),
    (0xd, 1, 0, 3, "xsaves"),
    (7, 0, 2, 1, "avx512vbmi"),
    (7, 0, 2, 2, "umip"),
    (7, 0, 2, 6, "avx512_vbmi2"),
    (7, 0, 2, 8, "gfni"),
    (7, 0, 2, 9, "vaes"),
    (7, 0, 2, 10, "vpclmulqdq"),
    (7, 0, 2, 11, "avx512_vnni"),
    (7, 0, 2, 12, "avx512_bitalg"),
    (7, 0, 2, 14, "avx512_vpopcntdq"),
    (7, 0, 2, 22, "rdpid"),
    (7, 0, 3, 4, "fsrm"),
];

fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    host::cpu::cpuid(leaf, subleaf)
}

fn text_of(words: &[u32]) -> String {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

fn model_name() -> String {
    if cpuid(0x8000_0000, 0)[0] < 0x8000_0004 {
        return "unknown".into();
    }
    let words: Vec<u32> = (0x8000_0002..=0x8000_0004).flat_map(|leaf| cpuid(leaf, 0)).collect();
    text_of(&words)
}

fn flags() -> String {
    let (highest, highest_extended) = (cpuid(0, 0)[0], cpuid(0x8000_0000, 0)[0]);
    let exists = |leaf: u32| leaf <= if leaf >= 0x8000_0000 { highest_extended } else { highest };
    let has = |&&(leaf, subleaf, register, bit, _): &&(u32, u32, usize, u32, &str)| {
        exists(leaf) && cpuid(leaf, subleaf)[register] & (1 << bit) != 0
    };
    FEATURES.iter().filter(has).map(|feature| feature.4).collect::<Vec<_>>().join(" ")
}

/// Prints it.
pub(super) fn show(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let [_, b, c, d] = cpuid(0, 0);
    let vendor = text_of(&[b, d, c]);
    let signature = cpuid(1, 0)[0];
    let (base_family, base_model) = ((signature >> 8) & 0xf, (signature >> 4) & 0xf);
    let family = if base_family == 0xf { base_family + ((signature >> 20) & 0xff) } else { base_family };
    let model =
        if matches!(base_family, 6 | 0xf) { base_model | ((signature >> 12) & 0xf0) } else { base_model };
    let sizes = if cpuid(0x8000_0000, 0)[0] >= 0x8000_0008 { cpuid(0x8000_0008, 0)[0] } else { 0x3028 };
    let (name, flags) = (model_name(), flags());
    let count = task.kernel().cpu_count();
    for cpu in 0..count {
        put!(out, "processor\t: {cpu}\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n");
        put!(
            out,
            "model name\t: {name}\nstepping\t: {}\nmicrocode\t: 0x1\ncpu MHz\t\t: 2000.000\n",
            signature & 0xf
        );
        put!(out, "cache size\t: 8192 KB\nphysical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {cpu}\n");
        put!(out, "cpu cores\t: {count}\napicid\t\t: {cpu}\ninitial apicid\t: {cpu}\nfpu\t\t: yes\n");
        put!(
            out,
            "fpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {flags}\n",
            cpuid(0, 0)[0]
        );
        put!(out, "bugs\t\t:\nbogomips\t: 4000.00\nclflush size\t: 64\ncache_alignment\t: 64\n");
        put!(
            out,
            "address sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
            sizes & 0xff,
            (sizes >> 8) & 0xff
        );
    }
    Ok(())
}
