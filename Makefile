# Two targets do all the set-up on a machine with Go: `make lab` shows hushgate at work, `make test` passes the tests.
# `make help` lists the others.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PEERS   := iptables iproute2 ethtool postfix swaks haproxy procps gcc libc6-dev
FUZZ    ?= 5s
BENCH   ?= 1x

.PHONY: help build lab test lint fmt bench fuzz install-deps clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

build: ## build the static binary ./hushgate
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o hushgate ./cmd/hushgate

lab: build ## show the gateway at work, in network namespaces of its own
	@PATH="$$PATH:/usr/sbin:/sbin" command -v iptables >/dev/null || ./.ci/install iptables
	./hushgate lab

install-deps: ## install the programs that the tests talk to (Debian)
	./.ci/install $(PEERS)

lint: ## formatting, vet, staticcheck, tidy modules
	@out=$$($(GO) tool gofumpt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff

# As root the tests of the whole gateway run, and a missing program is an error; without root they are skipped aloud.
test: install-deps build lint ## everything that CI runs
	PATH="$$PATH:/usr/sbin:/sbin" HUSHGATE_LAB=$$([ "$$(id -u)" = 0 ] && echo 1) CGO_ENABLED=1 \
		$(GO) test -race -shuffle=on -timeout 15m ./...
	$(MAKE) bench
	$(MAKE) fuzz

bench: ## run the benchmarks (BENCH=1x: once, so that they cannot rot; BENCH=2s for figures)
	$(GO) test -run '^$$' -bench . -benchtime $(BENCH) ./dataplane ./internal/flowtab ./internal/connlog

fuzz: ## run each fuzz target for a while (FUZZ=5s)
	@set -e; grep -rl --include=*_test.go '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) -fuzzminimizetime 10x "$$(dirname "$$file")"; \
		done; \
	done

fmt: ## format the code
	$(GO) tool gofumpt -w $$(git ls-files '*.go')

clean: ## remove what was built
	rm -rf hushgate dist
