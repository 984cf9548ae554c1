"""Messages of failed commands, as recorded from lvm2 2.03.16 and 2.03.31, which print them in different places."""

import pytest

from snapmanage import errors
from snapmanage.drivers.lvm import privileged
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.lvm.messages import messages
from snapmanage.drivers.system.commands import CompletedCommand

# `lvs --reportformat json absent` of each version.
ON_STANDARD_ERROR = (
    '  {\n      "report": [\n          {\n              "lv": [\n              ]\n          }\n      ]\n  }\n',
    "  WARNING: Activation disabled. No device-mapper interaction will be attempted.\n"
    '  Volume group "absent" not found\n'
    "  Cannot process volume group absent\n",
)
IN_THE_REPORT = (
    r"""  {
      "report": [
          {
              "lv": [
              ]
          }
      ]
      ,
      "log": [
          {"log_seq_num":"1", "log_type":"error", "log_context":"processing", "log_object_type":"vg",
           "log_object_name":"absent", "log_object_id":"", "log_object_group":"", "log_object_group_id":"",
           "log_message":"Volume group \"absent\" not found", "log_errno":"-1", "log_ret_code":"0"},
          {"log_seq_num":"2", "log_type":"error", "log_context":"processing", "log_object_type":"vg",
           "log_object_name":"absent", "log_object_id":"", "log_object_group":"", "log_object_group_id":"",
           "log_message":"Cannot process volume group absent", "log_errno":"-1", "log_ret_code":"0"},
          {"log_seq_num":"3", "log_type":"status", "log_context":"processing", "log_object_type":"vg",
           "log_object_name":"absent", "log_object_id":"", "log_object_group":"", "log_object_group_id":"",
           "log_message":"failure", "log_errno":"-1", "log_ret_code":"5"}
      ]
  }
""",
    "  WARNING: Activation disabled. No device-mapper interaction will be attempted.\n",
)
# `lvrename group absent new` with `log { report_command_log=1 }`, of both versions.
IN_A_TABLE = (
    "  Command Log\n"
    "  ===========\n"
    "  Seq LogType Context    ObjType ObjName ObjID Msg\n"
    '    1 error   processing vg      group   rjkT  Existing logical volume "absent" not found in volume group "g"\n'
    "    2 status  processing vg      group   rjkT  failure\n",
    "  WARNING: Activation disabled. No device-mapper interaction will be attempted.\n",
)


@pytest.mark.parametrize("streams", [ON_STANDARD_ERROR, IN_THE_REPORT], ids=["2.03.16", "2.03.31"])
def test_errors_are_read_from_standard_error_and_from_the_reports_log(streams: tuple[str, str]) -> None:
    lines = [line.strip() for line in messages(*streams).splitlines()]

    assert 'Volume group "absent" not found' in lines
    assert "Cannot process volume group absent" in lines
    assert "failure" not in lines


def test_errors_are_read_from_a_log_in_the_form_of_a_table() -> None:
    assert 'Existing logical volume "absent" not found in volume group "g"' in messages(*IN_A_TABLE)


def test_output_without_a_log_adds_no_message() -> None:
    assert messages('{"report": [{"lv": []}]}', "warning").split() == ["warning"]


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("  LV locked by other host: group/daily", errors.InUse),
        ("  Cannot rename locked LV daily", errors.InUse),
        ("  Cannot rename daily while it is tracking a split image", errors.Unusable),
        ("  Cannot rename a RAID image directly", errors.Unusable),
        ("  Cannot access VG group due to failed lock.", errors.BackendUnavailable),
        ("  /dev/sda: open failed: Permission denied", errors.BackendPermission),
        ("  An unknown message", errors.BackendError),
    ],
)
def test_message_of_a_failed_rename_decides_its_error(
    monkeypatch: pytest.MonkeyPatch, message: str, kind: type[errors.SnapmanageError]
) -> None:
    def fail_rename(*arguments: object) -> CompletedCommand:
        return CompletedCommand(5, "", message)

    monkeypatch.setattr(privileged, "lvrename", fail_rename)

    with pytest.raises(kind) as caught:
        LvmDriver("group").rename("daily", "mine")

    assert type(caught.value) is kind
    assert message.strip() in str(caught.value)
