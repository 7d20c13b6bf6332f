//! Whether the shim gets into a container, asked of real programs: gcc's, static and dynamic, and musl's.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot set up its ground has failed"
)]

#[path = "support/image.rs"]
mod image;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use image::{GLIBC_LOADER, Image};
use sdg::coverage::{self, Gap};
use sdg::oci::beneath;
use sdg::oci::config::Spec;
use serde_json::{Value, json};

fn spec(image: &Image, args: &[&str], mounts: Value) -> Spec {
    let spec = json!({
        "root": {"path": image.root()},
        "process": {"args": args, "env": ["A=1", "PATH=/opt/none:/usr/bin"], "cwd": "/usr"},
        "mounts": mounts,
    });
    Spec::parse(spec.to_string().as_bytes()).unwrap()
}

fn coverage(image: &Image, args: &[&str]) -> Result<(), Gap> {
    coverage::of_spec(&spec(image, args, json!([])), Path::new("/"))
}

/// The same below a directory on which everything is mounted.
fn mounted(image: &Image, program: &str) -> Result<(), Gap> {
    let root = beneath::root(&image.root()).unwrap();
    coverage::of_mounted(&spec(image, &[program], json!([])), root)
}

fn gap(image: &Image, args: &[&str]) -> String {
    coverage(image, args).unwrap_err().to_string()
}

#[test]
fn a_dynamic_program_of_glibc_is_reached_by_every_name_it_has() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    symlink("program", image.path("usr/bin/link")).unwrap();
    for args in [
        &["program"][..],
        &["/usr/bin/link", "--", "x"],
        &["bin/program"],
        &["./bin/../../usr/bin/link"],
        &["/opt/tini", "-g", "--", "program"],
    ] {
        coverage(&image, args).unwrap();
    }
    mounted(&image, "program").unwrap();
}

#[test]
fn a_static_program_is_not_reached() {
    let image = Image::new();
    for (name, flag) in [("static", "-static"), ("static-pie", "-static-pie")] {
        image.compile(&format!("usr/bin/{name}"), &[flag]);
        assert_eq!(
            gap(&image, &[name]),
            format!("/usr/bin/{name} is a static program")
        );
        assert!(matches!(mounted(&image, name), Err(Gap::Static(_))));
    }
}

#[test]
fn musls_loader_is_told_from_glibcs_by_what_it_reads_and_not_by_its_name() {
    let image = Image::new();
    image.compile_with("musl-gcc", "usr/bin/musl", &[]);
    image.copy("/lib/ld-musl-x86_64.so.1", "lib/ld-musl-x86_64.so.1");
    let text = gap(&image, &["musl"]);
    assert!(
        text.contains("/usr/bin/musl") && text.contains("/lib/ld-musl-x86_64.so.1"),
        "{text}"
    );
    // As gcompat has it: glibc's name on musl's file.
    image.compile("usr/bin/program", &[]);
    std::fs::remove_file(image.path(&GLIBC_LOADER[1..])).unwrap();
    symlink("/lib/ld-musl-x86_64.so.1", image.path(&GLIBC_LOADER[1..])).unwrap();
    assert!(matches!(coverage(&image, &["program"]), Err(Gap::Loader { .. })));
}

#[test]
fn a_loader_that_is_not_there_and_one_of_another_name() {
    let image = Image::new();
    image.compile("usr/bin/odd", &["-Wl,--dynamic-linker=/opt/loader"]);
    let text = gap(&image, &["odd"]);
    assert!(text.contains("/opt/loader"), "{text}");
    image.copy(GLIBC_LOADER, "opt/loader");
    coverage(&image, &["odd"]).unwrap();
}

#[test]
fn a_program_of_another_architecture_is_named() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    let program = image.path("usr/bin/program");
    let mut bytes = std::fs::read(&program).unwrap();
    for (machine, name) in [(183u16, "aarch64"), (3, "i386"), (4000, "ELF machine 4000")] {
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        std::fs::write(&program, &bytes).unwrap();
        let text = gap(&image, &["program"]);
        assert!(text.contains(&format!("a program for {name}")), "{text}");
    }
}

#[test]
fn a_script_is_as_its_interpreter() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    image.compile("usr/bin/static", &["-static"]);
    image.script("usr/bin/good", "#! /usr/bin/program -x\n");
    image.script("usr/bin/twice", "#!/usr/bin/good");
    image.script("usr/bin/bad", "#!/usr/bin/static\n");
    image.script("usr/bin/loop", "#!/usr/bin/loop\n");
    coverage(&image, &["good"]).unwrap();
    coverage(&image, &["twice"]).unwrap();
    assert!(matches!(coverage(&image, &["bad"]), Err(Gap::Static(_))));
    assert!(matches!(coverage(&image, &["loop"]), Err(Gap::Unknown(_))));
}

#[test]
fn what_cannot_be_told_says_why() {
    let image = Image::new();
    image.script("usr/bin/text", "hello\n");
    image.script("usr/bin/empty", "");
    image.script("usr/bin/no-interpreter", "#! \n");
    image.script("usr/bin/cut", "\u{7f}ELF");
    for (args, reason) in [
        (
            &["absent"][..],
            "no program \"absent\" in the container's PATH (/opt/none:/usr/bin)",
        ),
        (&["/absent"], "No such file"),
        (&["/usr"], "no regular file"),
        (&["text"], "neither an ELF program nor a script"),
        (&["empty"], "neither an ELF program nor a script"),
        (&["no-interpreter"], "names no interpreter"),
        (&["cut"], "cut off"),
        (&[], "no process.args"),
    ] {
        let text = gap(&image, args);
        assert!(text.contains(reason), "{args:?}: {text}");
    }
}

#[test]
fn a_damaged_program_is_no_panic() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    let program = image.path("usr/bin/program");
    let whole = std::fs::read(&program).unwrap();
    for length in [20, 63, 64, 100, 500] {
        std::fs::write(&program, &whole[..length]).unwrap();
        assert!(coverage(&image, &["program"]).is_err(), "{length} bytes");
    }
}

#[test]
fn only_files_that_can_be_executed_are_found_by_name() {
    let image = Image::new();
    std::fs::create_dir_all(image.path("opt/none/program")).unwrap();
    image.compile("usr/bin/program", &[]);
    coverage(&image, &["program"]).unwrap();
    std::fs::set_permissions(
        image.path("usr/bin/program"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    assert!(matches!(coverage(&image, &["program"]), Err(Gap::Unknown(_))));
}

#[test]
fn a_program_in_a_volume_is_what_counts() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    image.compile("volume/program", &["-static"]);
    let mounts = json!([{"destination": "/usr/bin", "type": "bind", "source": image.path("volume")}]);
    let covered = coverage::of_spec(&spec(&image, &["program"], mounts), Path::new("/"));
    assert!(matches!(covered, Err(Gap::Static(_))));
}

#[test]
fn an_image_without_etc_is_reached_and_one_whose_etc_is_a_file_is_not() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    std::fs::remove_dir(image.path("etc")).unwrap();
    coverage(&image, &["program"]).unwrap();
    std::fs::write(image.path("etc"), "").unwrap();
    assert!(matches!(coverage(&image, &["program"]), Err(Gap::NoPreload(_))));
    std::fs::remove_file(image.path("etc")).unwrap();
    symlink("etc", image.path("etc")).unwrap();
    assert!(matches!(coverage(&image, &["program"]), Err(Gap::NoPreload(_))));
}

#[test]
fn every_user_of_the_container_gets_to_the_list_and_to_the_shim() {
    let image = Image::new();
    image.compile("usr/bin/program", &[]);
    std::fs::create_dir_all(image.path("var/run/sdg")).unwrap();
    symlink("var/run", image.path("run")).unwrap();
    coverage(&image, &["program"]).unwrap();
    for (directory, file) in [
        ("etc", "/etc/ld.so.preload"),
        ("var", "/run/sdg/libsdg.so"),
        ("var/run", "/run/sdg/libsdg.so"),
        ("var/run/sdg", "/run/sdg/libsdg.so"),
    ] {
        let set = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(image.path(directory), permissions).unwrap();
        };
        set(0o750);
        assert_eq!(
            gap(&image, &["program"]),
            format!(
                "not every user of the container gets to {file}: /{directory} in the image has mode 0750 (chmod o+x)"
            )
        );
        assert!(matches!(mounted(&image, "program"), Err(Gap::Closed { .. })));
        // To enter is enough: nobody has to list it.
        set(0o711);
        coverage(&image, &["program"]).unwrap();
        set(0o755);
    }
}
