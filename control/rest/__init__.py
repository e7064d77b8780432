"""The HTTP side of the control plane. `kit` is what all APIs share; an API never imports another one."""
