//! `/etc/sdg/config.toml`: taken or refused in one line that names the file.

use sdg::config::Config;

use super::is_one_line;
use crate::scratch;

pub fn run(data: &[u8]) {
    let path = scratch::directory(|_| ()).join("config.toml");
    scratch::write(&path, data);
    if let Err(error) = Config::read(&path, true) {
        is_one_line(&error);
        assert!(error.to_string().contains("config.toml"), "{error}");
    }
}
