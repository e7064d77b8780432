"""What libvirt says of hosts of several shapes."""


def capabilities(*cells: str) -> str:
    topology = f"<topology><cells num='{len(cells)}'>{''.join(cells)}</cells></topology>" if cells else ""
    return f"""<capabilities><host><uuid>6f1d1a3e-2f4b-4a6f-9d53-0c1d7c9f2b11</uuid>
<cpu><arch>x86_64</arch><model>Cascadelake-Server</model><vendor>Intel</vendor>
<topology sockets='1' dies='1' cores='4' threads='2'/></cpu>
<power_management/><migration_features><live/></migration_features>{topology}
<cache><bank id='0' level='3' type='both' size='36' unit='MiB' cpus='0-3'/></cache></host>
<guest><os_type>hvm</os_type><arch name='x86_64'/></guest></capabilities>"""


def cell(number: int, kib: int, pages: dict[int, int], cpus: str) -> str:
    sizes = "".join(f"<pages unit='KiB' size='{size}'>{count}</pages>" for size, count in pages.items())
    return f"""<cell id='{number}'><memory unit='KiB'>{kib}</memory>{sizes}
<distances><sibling id='{number}' value='10'/></distances><cpus num='{cpus.count("<cpu ")}'>{cpus}</cpus></cell>"""


def cpu(number: int, core: int, siblings: str, socket: int = 0) -> str:
    return f"<cpu id='{number}' socket_id='{socket}' die_id='0' core_id='{core}' siblings='{siblings}'/>"


ONE_CELL = capabilities(
    cell(0, 8388608, {4: 2097152, 2048: 0, 1048576: 0}, "".join(cpu(n, n, str(n)) for n in range(4)))
)
"""four cores, no threads, no huge pages"""

TWO_CELLS = capabilities(
    *(
        cell(
            node,
            16777216,
            {4: 2097152, 2048: 2048, 1048576: 4},
            # As the kernel numbers them: all first threads, then all second ones.
            "".join(cpu(n, core, f"{n % 8},{n % 8 + 8}", node) for core, n in enumerate(numbers(node))),
        )
        for node in (0, 1)
        for numbers in [lambda node: [*range(4 * node, 4 * node + 4), *range(4 * node + 8, 4 * node + 12)]]
    )
)
"""two sockets of four cores of two threads, with huge pages of both sizes"""

OFFLINE = capabilities(
    cell(0, 4194304, {4: 1048576}, cpu(0, 0, "0-1") + cpu(1, 0, "0-1") + "<cpu id='2'/>" + cpu(3, 1, "3", 1))
)
"""a processor is offline, and two sockets share the cell"""

NO_NUMA = capabilities()


def device(address: str, vendor: str, product: str, *more: str, numa: int | None = None) -> str:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    place = f"<domain>{int(domain, 16)}</domain><bus>{int(bus, 16)}</bus><slot>{int(slot, 16)}</slot>"
    node = f"<numa node='{numa}'/>" if numa is not None else ""
    return f"""<device><name>pci_{domain}_{bus}_{slot}_{function}</name><parent>computer</parent>
<capability type='pci'><class>0x020000</class>{place}<function>{function}</function>
<product id='0x{product}'>product</product><vendor id='0x{vendor}'>vendor</vendor>{"".join(more)}{node}
</capability></device>"""


def of_physical(address: str) -> str:
    domain, bus, rest = address.split(":")
    slot, function = rest.split(".")
    return f"""<capability type='phys_function'><address domain='0x{domain}' bus='0x{bus}' slot='0x{slot}'
 function='0x{function}'/></capability>"""


VIRTUAL = "<capability type='virt_functions' maxCount='2'/>"

DEVICES = (
    device("0000:81:00.0", "10de", "1db1", numa=1),
    device("0000:82:00.0", "10de", "1db1", numa=1),
    device("0000:02:00.0", "10de", "1db1", numa=0),
    device("0000:05:00.0", "8086", "1528", VIRTUAL, numa=0),
    device("0000:05:10.0", "8086", "1515", of_physical("0000:05:00.0"), numa=0),
    device("0000:05:10.2", "8086", "1515", of_physical("0000:05:00.0"), numa=0),
    device("0000:06:00.2", "15b3", "101e", of_physical("0000:06:00.0")),
    """<device><name>net_enp5s0f0_90_e2_ba_00_00_01</name><parent>pci_0000_05_00_0</parent>
<capability type='net'><interface>enp5s0f0</interface><address>90:e2:ba:00:00:01</address></capability></device>""",
    """<device><name>vdpa_vdpa0</name><parent>pci_0000_06_00_2</parent>
<capability type='vdpa'><chardev>/dev/vhost-vdpa-0</chardev></capability></device>""",
)
"""three GPUs in two cells, a network card with two virtual functions, and a vDPA device whose place is not known"""
