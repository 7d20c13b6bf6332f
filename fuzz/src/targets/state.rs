//! A container's state on a hook's stdin.

use sdg::oci::state::State;

use super::is_one_line;

pub fn run(data: &[u8]) {
    if let Err(error) = State::read(data) {
        is_one_line(&error);
    }
}
