#!/usr/bin/env bash
# The tests of the built program (test/package) under other versions of Node.js, which npx fetches. Not part of
# `npm test`: each version is a download of some 50 MB. Usage: scripts/test-matrix.sh [VERSION...], else 22 24 26.
set -euo pipefail
cd "$(dirname "$0")/.."

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(22 24 26)

node scripts/ensure.mjs
failed=()
for version in "${versions[@]}"; do
  echo "== Node.js $version: $(npx -y "node@$version" --version)"
  npx -y "node@$version" node_modules/vitest/vitest.mjs run test/package || failed+=("$version")
done
[ ${#failed[@]} -eq 0 ] || { echo "failed under Node.js ${failed[*]}"; exit 1; }
