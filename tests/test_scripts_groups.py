"""Workflows that scripts declare may have functions in every group of steps."""

from tests.automation_rig import rig

LUA = """
workflow{
  name = "grouped",
  steps = {
    {name = "pick", decision = {
      ["if"] = "input.n > 1",
      ["then"] = {{name = "big", run = function(ctx) return {said = "big " .. ctx.input.n} end}},
      ["else"] = {run = function(ctx) return {said = "small"} end},
    }},
    {name = "way", decision = {switch = "input.n", cases = {
      ["1"] = {name = "one", run = function() return {said = "one"} end},
      ["2"] = {{name = "two", run = function() return {said = "two"} end}},
    }}},
    {name = "each", loop = {for_each = {1, 2}, ["do"] = {function(ctx) return ctx.item * 10 end}}},
    {name = "both", parallel = {
      {name = "a", run = function() return 1 end},
      {name = "b", run = function() return 2 end},
    }},
    {name = "seq", sequence = {function() error("no") end}, on_error = {["do"] = {function() return "mended" end}}},
  },
  outputs = {picked = "{{ steps.pick.said }}", way = "{{ steps.way.said }}", each = "{{ steps.each.results }}",
             both = "{{ steps.both }}", mended = "{{ steps.seq_error1 }}"},
}
"""


async def test_functions_may_stand_in_groups(tmp_path):
    """Branches, cases, loops, parallel steps, sequences and handlers of errors."""
    async with rig(tmp_path, grouped_lua=LUA) as r:
        run = await r.carried_out("grouped", '{"n": 2}')
        assert run.status == "succeeded", run.as_dict()
        assert run.output == {
            "picked": "big 2",
            "way": "two",
            "each": [10, 20],
            "both": {"a": 1, "b": 2},
            "mended": "mended",
        }
        run = await r.carried_out("grouped", '{"n": 1}')
        assert (run.output["picked"], run.output["way"]) == ("small", "one")
