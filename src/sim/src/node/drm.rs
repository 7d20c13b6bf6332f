//! The DRM's and the KFD's classes, `/sys/dev/char`, and the device nodes.

use super::pci;
use super::tree::Tree;
use crate::gpu::gpus;
use crate::preset::Preset;

/// Major number of DRM devices.
const DRM_MAJOR: u32 = sdg_abi::drm::MAJOR;

const KFD: &str = "sys/devices/virtual/kfd/kfd";

/// Plans the classes and the devices; the KFD has `kfd_major`.
pub(super) fn plan(preset: &Preset, kfd_major: u32, tree: &mut Tree) {
    tree.value("sys/class/drm/version", "drm 1.1.0 20060810");
    for gpu in gpus(preset) {
        let device = pci::device_dir(preset, &gpu);
        for (name, minor) in [
            (format!("card{}", gpu.card_minor), gpu.card_minor),
            (format!("renderD{}", gpu.render_minor), gpu.render_minor),
        ] {
            let dir = format!("{device}/drm/{name}");
            tree.value(format!("{dir}/dev"), format!("{DRM_MAJOR}:{minor}"));
            tree.file(
                format!("{dir}/uevent"),
                format!("MAJOR={DRM_MAJOR}\nMINOR={minor}\nDEVNAME=dri/{name}\nDEVTYPE=drm_minor\n"),
            );
            tree.link(format!("{dir}/device"), &device);
            tree.link(format!("{dir}/subsystem"), "sys/class/drm");
            tree.link(format!("sys/class/drm/{name}"), &dir);
            tree.link(format!("sys/dev/char/{DRM_MAJOR}:{minor}"), &dir);
            tree.char_device(format!("dev/dri/{name}"), DRM_MAJOR, minor);
        }
    }
    tree.value(format!("{KFD}/dev"), format!("{kfd_major}:0"));
    tree.file(
        format!("{KFD}/uevent"),
        format!("MAJOR={kfd_major}\nMINOR=0\nDEVNAME=kfd\n"),
    );
    tree.link(format!("{KFD}/subsystem"), "sys/class/kfd");
    tree.directory(format!("{KFD}/proc"));
    tree.link("sys/class/kfd/kfd", KFD);
    tree.link(format!("sys/dev/char/{kfd_major}:0"), KFD);
    tree.char_device("dev/kfd", kfd_major, 0);
}
