//! Reads CDI files as the reference implementation does, and says what is wrong with them: `cdi-reference FILE…`.
//! Form (by the schema), names, paths, and that the version is no lower than the content needs.

use std::path::PathBuf;
use std::process::ExitCode;

use container_device_interface::spec::read_spec;

fn main() -> ExitCode {
    let mut files = 0_usize;
    let mut refused = 0_usize;
    for path in std::env::args_os().skip(1).map(PathBuf::from) {
        files += 1;
        match read_spec(&path, 0) {
            Ok(spec) => println!("{}: {} device(s)", path.display(), spec.get_devices().len()),
            Err(error) => {
                eprintln!("{}: {error:#}", path.display());
                refused += 1;
            }
        }
    }
    if files == 0 {
        eprintln!("cdi-reference: no files");
    }
    ExitCode::from(u8::from(files == 0 || refused > 0))
}
