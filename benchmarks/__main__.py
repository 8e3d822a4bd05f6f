"""`python -m benchmarks`: every table, one after the other, nothing beside it."""

from benchmarks import elastic, networks

for module in (elastic, networks):
    module.main()
