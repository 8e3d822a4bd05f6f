"""`python -m benchmarks`: every table, one after the other, nothing beside it."""

from benchmarks import crf, dense, elastic, lineage, models, networks

for module in (elastic, networks, dense, crf):
    module.main()
for module in (models, lineage):
    module.main([])
