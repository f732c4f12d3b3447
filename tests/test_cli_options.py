"""`-o` as fstab, mount(8) and FUSE programs write it."""

import pytest

from automation.errors import CallerError
from vexfs_fuse import options


def test_kernel_options_go_to_fuse():
    """What libfuse understands is passed on as it is."""
    parsed = options.parse(["ro,allow_other", "default_permissions,fsname=my data,max_read=131072"])
    assert parsed.fuse == {"ro", "allow_other", "default_permissions", "fsname=my data", "max_read=131072"}


def test_of_opposites_the_later_wins():
    """As with mount(8): an fstab line's default can be taken back."""
    assert options.parse(["ro,rw"]).fuse == {"rw"}
    assert options.parse(["suid,dev", "nosuid", "exec,noexec,exec"]).fuse == {"nosuid", "dev", "exec"}
    assert options.parse(["ro", "rw"]).fuse == {"rw"}


def test_what_only_fstab_reads_is_accepted():
    """Any fstab line works: options for fstab, systemd and mount(8) are no errors and reach nobody."""
    line = "defaults,auto,noauto,user,users,nouser,owner,group,_netdev,nofail,relatime,strictatime,lazytime,nodiratime"
    parsed = options.parse([f"{line},x-systemd.automount,x-gvfs-show,X-mount.mkdir,comment=hello,subtype=vexfs,,"])
    assert parsed.fuse == frozenset()
    assert not parsed.settings.model_fields_set


def test_settings_can_be_given_as_mount_options():
    """fstab has no other place for them; dashes and underscores are the same, a bare name switches on."""
    parsed = options.parse(["workflows=/etc/vexfs/w\\,1,show_control,attr-timeout=3,log_format=json,ro"])
    assert parsed.settings.workflows == "/etc/vexfs/w,1"
    assert parsed.settings.show_control is True
    assert parsed.settings.attr_timeout == 3.0
    assert parsed.settings.log_format == "json"
    assert parsed.settings.model_fields_set == {"workflows", "show_control", "attr_timeout", "log_format"}
    assert parsed.fuse == {"ro"}


def test_foreground_and_background_are_options_too():
    """So that a systemd mount unit can say either."""
    assert options.parse(["foreground"]).settings.background is False
    assert options.parse(["background"]).settings.background is True


def test_the_filesystem_is_named_after_its_source():
    """Unless `fsname` says otherwise; libfuse would split at a comma, pyfuse3 takes ASCII only."""
    assert options.parse(["ro"]).for_libfuse("/a,b\\c d") == {"ro", "fsname=/a\\,b\\\\c d"}
    assert options.parse(["fsname=x"]).for_libfuse("/a") == {"fsname=x"}
    assert options.parse([]).for_libfuse("/ü\udcff\n") == {"fsname=/%C3%BC%FF%0A"}


def test_fstab_can_name_a_configuration_file():
    """`config=` among the options is the file that --config names."""
    assert options.parse(["config=/etc/vexfs.toml"]).config == "/etc/vexfs.toml"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("alow_other", r"-o alow_other: there is no such mount option; did you mean allow_other\?"),
        ("workflow=/x", r"did you mean workflows\?"),
        ("ro=1", "ro takes no value"),
        ("fsname", "give fsname a value"),
        ("subtype=ext4", "the subtype of a VexFS mount is vexfs"),
        ("attr_timeout=x", r"-o attr-timeout: 'x' is no duration"),
        ("max_read=abc", "-o max_read=abc: give a number of bytes"),
        ("source=/x", "there is no such mount option"),
        ("zzzzzzzz", r"-o zzzzzzzz: there is no such mount option$"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest(given, expected):
    """A typing error is an error, not silence."""
    with pytest.raises(CallerError, match=expected):
        options.parse([given])
