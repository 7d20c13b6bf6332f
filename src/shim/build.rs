//! Link options of `libsdg.so`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // No constructors and destructors of the C library's: loading it into every process of a container costs a mapping and
    // what it tells the program.
    println!("cargo::rustc-cdylib-link-arg=-nostartfiles");
    // Every symbol must be found at link time: the panic handler names one that does not exist, so a panic that the
    // optimiser could not prove impossible fails the build.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs");
}
