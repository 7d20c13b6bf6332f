//! Marketing names by PCI device id, for cards whose driver does not say one. Pure.

/// Name of an AMD device, none if it is not in the table.
/// Source: libdrm, `data/amdgpu.ids`, the entries of accelerators and of Radeons that ROCm supports.
pub fn marketing_name(device_id: u32) -> Option<&'static str> {
    let name = match device_id {
        0x738c => "AMD Instinct MI100",
        0x7408 => "AMD Instinct MI250X",
        0x740c => "AMD Instinct MI250X / MI250",
        0x740f => "AMD Instinct MI210",
        0x74a0 => "AMD Instinct MI300A",
        0x74a1 | 0x74b5 => "AMD Instinct MI300X",
        0x74a2 => "AMD Instinct MI308X",
        0x74a5 => "AMD Instinct MI325X",
        0x74a9 => "AMD Instinct MI300X HF",
        0x75a0 => "AMD Instinct MI350X",
        0x75a3 => "AMD Instinct MI355X",
        0x73bf => "AMD Radeon RX 6800 / 6900 XT",
        0x7448 => "AMD Radeon PRO W7900",
        0x744c => "AMD Radeon RX 7900 XT / XTX",
        _ => return None,
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown() {
        assert_eq!(marketing_name(29857), Some("AMD Instinct MI300X"));
        assert_eq!(marketing_name(1), None);
    }
}
