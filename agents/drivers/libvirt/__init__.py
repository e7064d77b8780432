"""The driver for QEMU by libvirt: `driver.LibvirtDriver` and what it is made of.

Pure parts: `domain_xml`, `metadata`, `config_drive`, `qcow2`, `capabilities` and `guest_state`. What a guest has on the
host lies in `<state_dir>/guests/<server>`, and the domain's own metadata is the only database. No file of ours stays
open, no state of ours is kept: another driver object over the same host knows as much as this one.
"""
