//! `sdg-sim rootfs`: make a root file system with ROCm user space.

use crate::cli::RootfsArgs;
use crate::rootfs::{self, Outcome, RootfsError};

/// Makes it, or says that it is there.
pub fn run(args: &RootfsArgs) -> Result<(), RootfsError> {
    let (dir, rocm) = (args.dir.display(), args.rocm.name());
    match rootfs::make(args.rocm, &args.dir, args.mirror.as_deref())? {
        Outcome::Present => println!("{dir}: there already, with ROCm {rocm}"),
        Outcome::Made(suite) => println!("{dir}: made from Debian {suite}, with ROCm {rocm}"),
    }
    Ok(())
}
