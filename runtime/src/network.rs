//! The network of a sandbox, read from its name space and donated at `start`.

use control::Client;
use control::network::NetworkMode;

use crate::container::State;
use crate::error::Result;
use crate::flags::Config;
use crate::logging;

/// Gives a sandbox the links of its name space. With `--network=none` and `--network=host` there is nothing to give.
pub(crate) fn donate(config: &Config, state: &State, _client: &Client) -> Result<()> {
    if config.network == NetworkMode::Sandbox {
        logging::debug(format!("sandbox {} has a loopback interface only", state.sandbox_id));
    }
    Ok(())
}
