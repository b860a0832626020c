# On a machine with Go, gcc, git and make, two targets install whatever else they need: `make lab` shows hushgate at work,
# `make test` runs every test. `make help` lists the others.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PEERS   := iptables nftables iproute2 ethtool postfix swaks netcat-openbsd haproxy procps gcc libc6-dev
# The tests of the package and of the Vagrantfile need Debian machines, and programs that check such files.
PEERS   += mmdebstrap systemd-container lintian shellcheck vagrant ruby
# DNS lists are asked of real servers.
PEERS   += rbldnsd unbound
# Readers and receivers of logs, and readers of captures.
PEERS   += logrotate fail2ban pflogsumm rsyslog rsyslog-openssl tcpdump
# Programs that speak HAProxy's commands.
PEERS   += socat hatop prometheus-haproxy-exporter
# The examples of the control API are run.
PEERS   += curl
# Metrics, alerts and the dashboard are given to a real Prometheus.
PEERS   += prometheus
# The page is looked at with a real browser.
PEERS   += chromium
# Exim cannot be installed beside Postfix: it is unpacked, and needs libidn12.
PEERS   += libidn12
EXIM    := .ci/peers/exim4 exim4-base exim4-daemon-light
BENCH   ?= 1x
# A number of runs, not a time: when a time is over, the fuzzer may report its own deadline as a failure.
FUZZ    ?= 50000x

# A user's PATH may lack the directories of the administration tools.
export PATH := $(PATH):/usr/sbin:/sbin
# VERSION has the version. Without Go's own stamp the build also works in a checkout of another owner, which git distrusts.
export GOFLAGS += -buildvcs=false

.PHONY: help build deb lab test lint fmt bench fuzz install-deps clean
.NOTPARALLEL:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build the static binary ./hushgate
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o hushgate ./cmd/hushgate

deb: ## build the Debian package dist/hushgate_VERSION_ARCH.deb
	./internal/debian/build $(VERSION) dist

lab: build ## show the gateway at work, in its own network namespaces
	@command -v iptables >/dev/null || ./.ci/install iptables
	./hushgate lab

# As root the tests of the whole gateway run too, and it is an error if one of them cannot run. For other users they are
# skipped, and say so.
test: build ## run everything: linters, tests, each benchmark once, each fuzz target briefly
	{ ./.ci/install $(PEERS) && ./.ci/unpack $(EXIM); } || [ "$$(id -u)" != 0 ]
	$(MAKE) lint
	[ "$$(id -u)" != 0 ] || export HUSHGATE_LAB=1; CGO_ENABLED=1 $(GO) test -race -shuffle=on -timeout 30m ./...
	$(MAKE) bench fuzz

lint: ## formatting, go vet, staticcheck, golangci-lint, tidy modules
	@out=$$($(GO) tool gofumpt -l .); [ -z "$$out" ] || { echo "gofumpt would change (make fmt):"; echo "$$out"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) tool -modfile=.ci/tools/go.mod golangci-lint run
	$(GO) mod tidy -diff

fmt: ## format the code
	$(GO) tool gofumpt -w .

bench: ## run the benchmarks; BENCH=2s for figures
	$(GO) test -run '^$$' -bench . -benchtime $(BENCH) $$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n1 dirname | sort -u)

fuzz: ## run each fuzz target for a while; FUZZ=10m for long
	@set -e; grep -r --include='*_test.go' '^func Fuzz' . | sort | \
	sed 's|/[^/]*_test.go:func \(Fuzz[A-Za-z0-9_]*\).*| \1|' | while read -r dir target; do \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZ) -fuzzminimizetime 10x "$$dir" </dev/null; \
	done

install-deps: ## install the programs that the tests talk to (Debian)
	./.ci/install $(PEERS)
	./.ci/unpack $(EXIM)

clean: ## remove what was built
	rm -rf hushgate dist
