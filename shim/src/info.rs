//! What this program says of itself.

use std::io::{Read, Write};

use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};

use crate::error::{Context, Result};
use crate::options::Options;

/// The name of the type of OCI features.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// `-v`.
pub(crate) fn print_version() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    print(format!("containerd-shim-runsc-v1:\n  Version:  {version}\n").as_bytes())
}

/// `-info`: a message that describes the runtime, with what `runsc features` says.
pub(crate) fn print_info() -> Result<()> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read the options")?;
    let sent = Any::parse_from_bytes(&bytes).context("the options are malformed")?;
    let options = Options::of(Some(&sent))?;
    let features = std::process::Command::new(&options.binary_name).arg("features").output();
    let features = features.ok().filter(|output| output.status.success());
    let version = RuntimeVersion { version: env!("CARGO_PKG_VERSION").into(), ..RuntimeVersion::default() };
    let info = RuntimeInfo {
        name: "io.containerd.runsc.v1".into(),
        version: Some(version).into(),
        options: (!sent.type_url.is_empty()).then_some(sent).into(),
        features: features
            .map(|output| Any { type_url: FEATURES.into(), value: output.stdout, ..Any::default() })
            .into(),
        ..RuntimeInfo::default()
    };
    print(&info.write_to_bytes().context("cannot encode the answer")?)
}

fn print(bytes: &[u8]) -> Result<()> {
    std::io::stdout().write_all(bytes).context("cannot print the answer")
}
