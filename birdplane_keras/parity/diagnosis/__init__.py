"""Why a rung failed. `feeding` and `numbers` read it off the arrays; `search` tries known mistakes on the reference."""
