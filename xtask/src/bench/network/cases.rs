//! The servers, and what is asked of them.

/// A server, and its loads one after the other.
pub(super) struct Case {
    /// What it is asked for by.
    pub(super) name: &'static str,
    /// Programs that must be there.
    pub(super) tools: &'static [&'static str],
    /// A shell script that serves; `$work` is a directory, `$answer` our own program.
    pub(super) server: &'static str,
    /// A TCP port that tells that it serves.
    pub(super) port: u16,
    /// What is asked.
    pub(super) loads: &'static [Load],
}

/// What a server is asked.
pub(super) struct Load {
    /// The row's name.
    pub(super) name: &'static str,
    /// Where the client runs.
    pub(super) from: From,
    /// A shell script; `$server` is the server's address, `$ms` says how long.
    pub(super) script: &'static str,
    /// What it prints.
    pub(super) unit: Unit,
}

/// Where a client runs.
#[derive(Clone, Copy)]
pub(super) enum From {
    /// On the host, at the other end of the wire.
    Peer,
    /// In the server's container.
    Beside,
}

/// What a client prints.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    /// Requests per second, in the word before or behind this phrase.
    Before(&'static str),
    /// See [`Self::Before`].
    Behind(&'static str),
    /// The report of iperf3, in JSON.
    Iperf,
}

impl Unit {
    /// Nanoseconds for a request, or for a MiB.
    pub(super) fn nanoseconds(self, output: &str) -> Option<f64> {
        let rate: f64 = match self {
            Self::Before(phrase) => {
                output.get(..output.rfind(phrase)?)?.split_whitespace().last()?.parse().ok()?
            }
            Self::Behind(phrase) => output.split(phrase).nth(1)?.split_whitespace().next()?.parse().ok()?,
            Self::Iperf => {
                let report: serde_json::Value = serde_json::from_str(output).ok()?;
                report["end"]["sum_received"]["bits_per_second"].as_f64()? / f64::from(8 << 20)
            }
        };
        Some(1e9 / rate).filter(|time| time.is_normal())
    }
}

const REDIS: Unit = Unit::Before(" requests per second");
const ANSWERS: Unit = Unit::Before(" answers per second");

/// All of them.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "redis",
        tools: &["redis-server", "redis-benchmark"],
        server: "cd $work; exec redis-server --save '' --protected-mode no --bind 0.0.0.0",
        port: 6379,
        loads: &[
            Load {
                name: "redis-set-veth",
                from: From::Peer,
                script: "redis-benchmark -h $server -c 8 -n $((ms * 20)) -q -t set",
                unit: REDIS,
            },
            Load {
                name: "redis-get-p16-veth",
                from: From::Peer,
                script: "redis-benchmark -h $server -c 8 -n $((ms * 200)) -P 16 -q -t get",
                unit: REDIS,
            },
            Load {
                name: "redis-set-local",
                from: From::Beside,
                script: "redis-benchmark -c 8 -n $((ms * 20)) -q -t set",
                unit: REDIS,
            },
            Load {
                name: "redis-get-p16-local",
                from: From::Beside,
                script: "redis-benchmark -c 8 -n $((ms * 200)) -P 16 -q -t get",
                unit: REDIS,
            },
        ],
    },
    Case {
        name: "nginx",
        tools: &["nginx", "wrk", "ab"],
        server: "mkdir -p $work/www && cd $work/www && head -c 612 /dev/zero >file && printf \"daemon off; user root; \
            master_process off; error_log /dev/null; pid $PWD/pid; events {} http { access_log off; sendfile on; \
            client_body_temp_path $PWD/a; proxy_temp_path $PWD/b; fastcgi_temp_path $PWD/c; \
            uwsgi_temp_path $PWD/d; scgi_temp_path $PWD/e; keepalive_requests 100000000; \
            server { listen 8080; root $PWD; } }\" >conf && exec nginx -c $PWD/conf",
        port: 8080,
        loads: &[
            Load {
                name: "nginx-keep-alive",
                from: From::Peer,
                script: "wrk -t 1 -c 8 -d $(((ms + 999) / 1000)) http://$server:8080/file",
                unit: Unit::Behind("Requests/sec:"),
            },
            Load {
                name: "nginx-new-connection",
                from: From::Peer,
                script: "ab -q -c 8 -n $((ms * 4)) http://$server:8080/file",
                unit: Unit::Behind("Requests per second:"),
            },
        ],
    },
    Case {
        name: "iperf",
        tools: &["iperf3"],
        server: "exec iperf3 -s",
        port: 5201,
        loads: &[
            Load { name: "iperf-in-MiB", from: From::Peer, script: IPERF_IN, unit: Unit::Iperf },
            Load { name: "iperf-in-8-MiB", from: From::Peer, script: IPERF_IN_8, unit: Unit::Iperf },
            Load { name: "iperf-out-MiB", from: From::Peer, script: IPERF_OUT, unit: Unit::Iperf },
            Load { name: "iperf-out-8-MiB", from: From::Peer, script: IPERF_OUT_8, unit: Unit::Iperf },
            Load { name: "iperf-local-MiB", from: From::Beside, script: IPERF_LOCAL, unit: Unit::Iperf },
        ],
    },
    Case {
        name: "answers",
        tools: &[],
        server: "$answer serve udp & exec $answer serve tcp",
        port: 9000,
        loads: &[
            Load {
                name: "udp-answer-veth",
                from: From::Peer,
                script: "$answer $server udp $ms",
                unit: ANSWERS,
            },
            Load {
                name: "tcp-answer-veth",
                from: From::Peer,
                script: "$answer $server tcp $ms",
                unit: ANSWERS,
            },
            Load {
                name: "udp-answer-local",
                from: From::Beside,
                script: "$answer 127.0.0.1 udp $ms",
                unit: ANSWERS,
            },
            Load {
                name: "tcp-answer-local",
                from: From::Beside,
                script: "$answer 127.0.0.1 tcp $ms",
                unit: ANSWERS,
            },
        ],
    },
];

// The server is busy for a moment after each run.
const IPERF_IN: &str = "sleep 0.3; iperf3 -J -c $server -t $(((ms + 999) / 1000))";
const IPERF_IN_8: &str = "sleep 0.3; iperf3 -J -c $server -t $(((ms + 999) / 1000)) -P 8";
const IPERF_OUT: &str = "sleep 0.3; iperf3 -J -c $server -t $(((ms + 999) / 1000)) -R";
const IPERF_OUT_8: &str = "sleep 0.3; iperf3 -J -c $server -t $(((ms + 999) / 1000)) -R -P 8";
const IPERF_LOCAL: &str = "sleep 0.3; iperf3 -J -c 127.0.0.1 -t $(((ms + 999) / 1000))";

#[cfg(test)]
mod tests {
    use super::{CASES, Unit};

    #[test]
    fn rates_become_times() {
        let near =
            |unit: Unit, output: &str, time: f64| (unit.nanoseconds(output).unwrap() - time).abs() < 1.0;
        let redis = "SET: rps=100.0 (overall: 90.0)\rSET: 2000.00 requests per second, p50=0.1 msec\n";
        assert!(near(super::REDIS, redis, 500_000.0));
        assert!(near(Unit::Behind("Requests/sec:"), "Requests/sec:  100000.0\nmore", 10_000.0));
        let iperf = r#"{"end": {"sum_received": {"bits_per_second": 8388608000.0}}}"#;
        assert!(near(Unit::Iperf, iperf, 1e6));
        assert_eq!(Unit::Iperf.nanoseconds(r#"{"error": "busy"}"#), None);
        assert_eq!(super::REDIS.nanoseconds("nothing"), None);
    }

    #[test]
    fn rows_have_names_of_their_own() {
        let mut names: Vec<_> = CASES.iter().flat_map(|case| case.loads).map(|load| load.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
