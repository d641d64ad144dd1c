# Everything a person runs. Each target is safe to run again; the second time is quick.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run web build broadcast_tvshow test e2e check check-deny bench fuzz generated clean

# Options for the server or the bench, as in: make run ARGS="--http 0.0.0.0:8081"
ARGS ?=

help: ## what can be made
	@grep -hE '^[a-z0-9_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9_-]+):.*## /  make \1\t/' | expand -t 26

run: ## set up what is missing, build, and run with a colour-bar channel on air
	@scripts/setup.sh run
	@scripts/web.sh build
	@scripts/step.sh "build the server" cargo build --locked --package headwater
	@exec target/debug/headwater demo $(ARGS)

web: ## build the viewer app into web/dist
	@scripts/web.sh build

build: web ## build the viewer app and the server
	@scripts/step.sh "build the server" cargo build --locked --package headwater

broadcast_tvshow: ## publish a second channel with FFmpeg to the running server
	@scripts/broadcast_tvshow.sh

test: ## set up what is missing, then every check and every test
	@scripts/test.sh

e2e: ## the end-to-end tests alone
	@scripts/setup.sh test
	@scripts/e2e.sh

check: ## formatting, house rules, lints, licences, the web app's checks; no tests
	@scripts/check.sh

check-deny: ## licences, sources and doubled dependencies alone
	@scripts/deny.sh

bench: ## measure against nginx with its RTMP module, on this machine
	@scripts/setup.sh bench
	@scripts/bench.sh $(ARGS)

fuzz: ## run every fuzz target for FUZZ_SECONDS each (default 60)
	@scripts/fuzz.sh "$${FUZZ_SECONDS:-60}"

generated: ## write the generated files: configuration reference and defaults file
	@cargo xtask generate

clean: ## remove everything that was built, the tools below target/ included
	@cargo clean
	@rm -rf web/dist web/node_modules fuzz/artifacts
