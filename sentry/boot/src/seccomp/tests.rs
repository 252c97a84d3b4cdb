use abi::seccomp::{AUDIT_ARCH_X86_64, SeccompData, ret};
use bpf::{Dialect, Program};
use serde_json::{Value, json};

use super::{Filter, compile};

/// What the filter says of a call.
fn run(filter: &Filter, number: u32, args: [u64; 6]) -> u32 {
    let program = Program::new(filter.0.clone(), Dialect::Seccomp).unwrap();
    let nr = number.cast_signed();
    program.run(&SeccompData { nr, arch: AUDIT_ARCH_X86_64, instruction_pointer: 0, args }).unwrap()
}

fn compiled(profile: Value) -> Filter {
    compile(&profile).unwrap().unwrap()
}

const MKDIR: u32 = 83;
const PERSONALITY: u32 = 135;
const EPERM: u32 = ret::ERRNO | 1;

#[test]
fn an_allow_list_like_dockers() {
    let filter = compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read", "write", "close", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
        {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0xffff_ffff_u64, "op": "SCMP_CMP_EQ"}]},
        {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 0x7e02_0000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}));
    let ask = |number, first| run(&filter, number, [first, 0, 0, 0, 0, 0]);
    assert_eq!([ask(0, 9), ask(1, 9), ask(3, 9)], [ret::ALLOW; 3]);
    assert_eq!([ask(2, 0), ask(MKDIR, 0), ask(PERSONALITY, 8)], [EPERM; 3]);
    assert_eq!([ask(PERSONALITY, 0), ask(PERSONALITY, 0xffff_ffff)], [ret::ALLOW; 2]);
    assert_eq!(ask(PERSONALITY, 0xffff_ffff_ffff_ffff), EPERM);
    assert_eq!([ask(56, 0x11), ask(56, 0x1000_0011)], [ret::ALLOW, EPERM]);
    // Refused by name, and newer than every name.
    assert_eq!([ask(435, 0), ask(436, 0), ask(0x4000_0000, 0)], [ret::ERRNO | 38; 3]);
}

#[test]
fn a_deny_list() {
    let filter = compiled(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"], "syscalls": [
        {"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS", "args": [{"index": 1, "value": 7, "op": "SCMP_CMP_EQ"}]},
        {"names": ["mkdir"], "action": "SCMP_ACT_TRAP"},
        {"names": ["read"], "action": "SCMP_ACT_KILL"}]}),
    );
    assert_eq!(run(&filter, MKDIR, [0, 7, 0, 0, 0, 0]), ret::TRAP, "the rule without conditions outweighs");
    assert_eq!([run(&filter, 0, [0; 6]), run(&filter, 1, [0; 6])], [ret::KILL_THREAD, ret::ALLOW]);
    assert_eq!(run(&filter, 500, [0; 6]), ret::ALLOW);
    assert_eq!(filter.1, abi::seccomp::FilterFlags::LOG);
}

#[test]
fn every_comparison_agrees_with_the_numbers() {
    type Compare = fn(&u64, &u64) -> bool;
    let operators: [(&str, Compare); 6] = [
        ("SCMP_CMP_EQ", u64::eq),
        ("SCMP_CMP_NE", u64::ne),
        ("SCMP_CMP_LT", u64::lt),
        ("SCMP_CMP_LE", u64::le),
        ("SCMP_CMP_GT", u64::gt),
        ("SCMP_CMP_GE", u64::ge),
    ];
    let interesting = [0, 1, 5, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0005, 0x2_0000_0001, u64::MAX];
    for (op, compare) in operators {
        for value in interesting {
            // A second condition that always holds: the first must reach it.
            let filter =
                compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["mkdir"],
                "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": value, "op": op},
                {"index": 3, "value": 4, "op": "SCMP_CMP_GE"}]}]}));
            for arg in interesting {
                let wanted = if compare(&arg, &value) { ret::ALLOW } else { EPERM };
                assert_eq!(run(&filter, MKDIR, [0, 0, arg, 4, 0, 0]), wanted, "{arg:#x} {op} {value:#x}");
                assert_eq!(run(&filter, MKDIR, [0, 0, arg, 3, 0, 0]), EPERM);
            }
        }
    }
}

#[test]
fn conditions_on_one_argument_are_alternatives() {
    let filter = compiled(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["mkdir"],
        "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
        {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]}]}));
    let ask = |first| run(&filter, MKDIR, [first, 0, 0, 0, 0, 0]);
    assert_eq!([ask(1), ask(2), ask(3)], [ret::ALLOW, ret::ALLOW, EPERM]);
}

#[test]
fn what_cannot_be_done_is_said() {
    assert!(compile(&Value::Null).unwrap().is_none());
    for bad in [
        json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
        json!({"defaultAction": "ALLOW"}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP",
            "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_TRAP",
            "args": [{"index": 0, "value": 0, "op": "SCMP_CMP"}]}]}),
        json!([]),
    ] {
        let failure = compile(&bad).unwrap_err().to_string();
        assert!(failure.contains("linux.seccomp"), "{failure}");
    }
}
