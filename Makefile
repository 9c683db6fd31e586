# Each target first checks what it needs; build/needs installs what apt can provide.
.PHONY: up image test chaos check fix bench

# A three-node cluster on this machine, in the foreground; its data is in ./narthex-data.
up:
	@build/needs
	@build/cargo build --release --locked --workspace --bins
	@build/up

# The image for containers, from the program that is built here, as narthex-image.tar;
# build/image names the variables that choose another name or base.
image:
	@build/image

# All tests, with the cluster's own processes. Ends with what was skipped and why.
test:
	@build/needs
	@build/test

# All scenarios of faults against real processes, with a report; about 80 minutes, as root.
# build/chaos names the options that choose less.
chaos:
	@build/needs
	@build/chaos

# What CI asks of a change. Writes nothing but build output.
check:
	@build/needs check
	@build/check

# Formats, and applies what clippy can mend by itself.
fix:
	@build/needs fix
	@build/cargo fmt --all
	@build/cargo clippy --release --locked --workspace --all-targets --fix --allow-dirty --allow-staged

# The table of docs/performance.md, which takes hours, then the benches of each hot stage;
# build/bench names the variables that choose less: make bench ROWS=write RUNS=1 STAGES=no
bench:
	@build/needs
	@build/bench
