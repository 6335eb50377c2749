export default { test: { include: ['*.test.mjs'], maxWorkers: 1 } }
