# Everything is built into bin, and kept there.

GO      ?= go
# The version stands in the source; a revision without its tag is said beside it: 0.2.0+94d38a0
RELEASE := $(shell sed -n 's/^var release = "\(.*\)"$$/\1/p' cmd/rosproxy/version.go)
REVISION ?= $(shell [ "$$(git describe --tags --dirty 2>/dev/null)" = v$(RELEASE) ] || git describe --always --abbrev=7 --exclude '*' --dirty=.dirty 2>/dev/null)
COMMITTED := $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
VERSION := $(RELEASE)$(if $(REVISION),+$(REVISION))
LDFLAGS := -s -w -X main.release=$(RELEASE) -X main.revision=$(REVISION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# For one workload alone: make bench BENCH_FLAGS='-workload pingpong'
BENCH_FLAGS ?=

# For an hour of faults: make faults FAULTS_FLAGS='-duration 1h -seed 7'
FAULTS_FLAGS ?=

# How long each fuzz target runs: in `make test` a number of inputs, because a time that runs out on a busy
# machine is at times reported as a finding ("context deadline exceeded"); in `make fuzz` a time.
FUZZ_SMOKE ?= 5000x
FUZZ_TIME  ?= 5m

# Packages: where to, for what, and in which form.
PACKAGES      ?= bin/packages
ARCHITECTURES ?= amd64 arm64
FORMATS       ?= deb rpm

.PHONY: build packages test test-systemd demo demo-patroni demo-dr consul balancers patroni prometheus packaging chromium screenshots bench faults lint fuzz fuzz-smoke clean

.NOTPARALLEL: # two targets that install at once would be in each other's way

build: ## bin/rosproxy, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/rosproxy ./cmd/rosproxy

packages: bin/nfpm ## .deb and .rpm for amd64 and arm64, in bin/packages
	rm -rf $(PACKAGES)/stage $(PACKAGES)/*.deb $(PACKAGES)/*.rpm
	$(GO) run ./cmd/rosproxy/manual -version $(VERSION) -date $$(date -u -d @$(COMMITTED) +%F) $(PACKAGES)/stage
	gzip -9n $(PACKAGES)/stage/rosproxy.8
	sed s,/usr/local/bin/,/usr/bin/, testdata/systemd/rosproxy.service >$(PACKAGES)/stage/rosproxy.service
	set -e; for arch in $(ARCHITECTURES); do \
	  CGO_ENABLED=0 GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(PACKAGES)/stage/rosproxy ./cmd/rosproxy; \
	  for format in $(FORMATS); do \
	    ARCH=$$arch VERSION=$(VERSION) STAGE=$(PACKAGES)/stage SOURCE_DATE_EPOCH=$(COMMITTED) \
	      bin/nfpm package --config testdata/packages/nfpm.yaml --packager $$format --target $(PACKAGES); \
	  done; \
	done
	rm -rf $(PACKAGES)/stage

bin/nfpm: testdata/packages/go.mod testdata/packages/go.sum
	cd testdata/packages && CGO_ENABLED=0 $(GO) build -trimpath -o ../../bin/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
	@touch $@

# The longest packages come first, so that none of them is left for the end alone.
test: balancers patroni prometheus packaging chromium lint bin/consul build ## everything that must hold
	$(GO) test -race -timeout 20m ./proxy ./cmd/rosproxy/postgresql ./cmd/rosproxy ./...
	$(GO) test ./discovery/fence ./discovery/datacenter # their searches, which the race detector makes too long
	cd bench && $(GO) test -race ./...
	cd bench/faults && $(GO) test -race -timeout 10m ./...
	cd testdata/prometheus && $(GO) test ./...
	cd testdata/page && $(GO) test ./...
	$(MAKE) --no-print-directory fuzz-smoke

test-systemd: packaging bin/debian.tar bin/consul ## the packages installed, upgraded and removed, and the service under the real systemd
	$(GO) test -count=1 ./cmd/rosproxy/manual ./cmd/rosproxy/packages

demo: build ## the main job, watched: election, failover, rejoin, upgrade
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/syncworker ./cmd/rosdemo
	bin/rosdemo

demo-patroni: patroni bin/consul build ## the same story with PostgreSQL under Patroni, about two minutes
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/rosdemo
	bin/rosdemo patroni

demo-dr: bin/consul build ## two data centres: one is lost, comes back and is rebuilt; about a minute
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/syncworker ./cmd/rosdemo
	bin/rosdemo dr

consul: bin/consul ## the real Consul, for the tests

bin/consul: testdata/consul/go.mod testdata/consul/go.sum
	@echo "building Consul from source: about five minutes the first time"
	cd testdata/consul && CGO_ENABLED=0 $(GO) build -o ../../bin/consul github.com/hashicorp/consul
	@touch $@

# What is run beside rosproxy: a file of each of Debian's packages, and its name.
BALANCERS := /usr/sbin/haproxy=haproxy /usr/sbin/nginx=nginx /usr/lib/nginx/modules/ngx_stream_module.so=libnginx-mod-stream \
  /usr/bin/systemd-analyze=systemd /sbin/ip=iproute2 /usr/bin/curl=curl
PATRONI := /usr/bin/patroni=patroni /usr/lib/python3/dist-packages/consul=python3-consul /usr/lib/postgresql/*/bin/postgres=postgresql
PROMETHEUS := /usr/bin/prometheus=prometheus
PACKAGING := /usr/bin/mandoc=mandoc /usr/bin/zsh=zsh /usr/bin/fish=fish /usr/bin/rpm=rpm \
  /usr/bin/systemd-nspawn=systemd-container /usr/sbin/debootstrap=debootstrap

# Nothing of this starts: in runlevel 1 the packages start no services (invoke-rc.d), and with
# create_main_cluster = false, which is there only for as long as it takes, PostgreSQL gets no cluster.
NO_CLUSTER := /etc/postgresql-common/createcluster.d/rosproxy.conf
APT_INSTALL := apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=120
install-absent = @missing=; for b in $(1); do ls $${b%%=*} >/dev/null 2>&1 || missing="$$missing $${b\#\#*=}"; done; \
  [ -n "$$missing" ] || exit 0; \
  if [ "$$(id -u)" != 0 ]; then echo "missing, and only root can install them:$$missing"; exit 1; fi; \
  echo "installing from Debian's packages, without starting their services:$$missing"; \
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
  trap 'rm -f $(NO_CLUSTER)' EXIT; \
  mkdir -p $(dir $(NO_CLUSTER)) && echo 'create_main_cluster = false' >$(NO_CLUSTER) && \
  { $(APT_INSTALL) $$missing || { apt-get update -q && $(APT_INSTALL) $$missing; }; }

balancers: ## HAProxy, nginx, iproute2, curl and systemd from Debian's packages, for the tests: only what is absent
	$(call install-absent,$(BALANCERS))

patroni: ## Patroni, its client of Consul and PostgreSQL from Debian's packages, for tests and demo: only what is absent
	$(call install-absent,$(PATRONI))

prometheus: ## Prometheus and promtool from Debian's package, for the tests: only if absent
	$(call install-absent,$(PROMETHEUS))

# Without root, or where there can be no containers, the tests of packages that take them are skipped.
packaging: ## what the tests of packages, manual page and completions run, and a small Debian to boot: only what is absent
	$(if $(filter 0,$(shell id -u)),$(call install-absent,$(PACKAGING)))
	@if [ "$$(id -u)" = 0 ] && unshare --mount --pid --net --fork true; then $(MAKE) --no-print-directory bin/debian.tar; \
	  else echo "packages are neither installed nor booted here: that takes root and namespaces"; fi || \
	  echo "packages are neither installed nor booted here: there is no small Debian, as said above"

# From the mirror that apt uses on this machine.
bin/debian.tar:
	rm -rf bin/debian.tmp
	debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus bookworm bin/debian.tmp \
	  $$(apt-get indextargets --format '$$(SITE)' 'Release: bookworm' 'Component: main' | head -n 1) >bin/debian.log || { tail bin/debian.log; exit 1; }
	rm -rf bin/debian.tmp/var/cache/apt/* bin/debian.tmp/var/lib/apt/lists/* bin/debian.tmp/usr/share/doc/* bin/debian.tmp/usr/share/locale/*
	tar -C bin/debian.tmp -cf $@.part . && mv $@.part $@
	rm -rf bin/debian.tmp

bench: bin/consul ## rosproxy against HAProxy, nginx, io.Copy and no proxy; writes bench/RESULTS.md
	cd bench && $(GO) build -trimpath -o ../bin/bench .
	bin/bench run $(BENCH_FLAGS)

faults: bin/consul build ## failovers under faults, one after the other, judged; FAULTS_FLAGS for how long and which
	$(call install-absent,/sbin/ip=iproute2)
	cd bench/faults && CGO_ENABLED=0 $(GO) build -trimpath -o ../../bin/faults .
	bin/faults $(FAULTS_FLAGS)

chromium: ## Chromium from Debian's package, for the tests of the status page: only if absent
	$(call install-absent,/usr/bin/chromium=chromium)

screenshots: chromium bin/consul build ## those of the status page in README.md, about five minutes
	cd testdata/page && SCREENSHOTS=. $(GO) test -count 1 -run TestScreenshots -timeout 10m .

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l cmd proxy discovery drain bench testdata); \
	  if [ -n "$$unformatted" ]; then echo "gofmt these:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd bench && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd bench/faults && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd testdata/page && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd testdata/prometheus && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...

fuzz-smoke:
	@$(MAKE) --no-print-directory fuzz FUZZ_TIME=$(FUZZ_SMOKE)

fuzz: ## every fuzz target, FUZZ_TIME each
	@grep -rl --include='*_test.go' '^func Fuzz' cmd proxy discovery drain | xargs -n1 dirname | sort -u | while read -r dir; do \
	  for target in $$(grep -h '^func Fuzz' $$dir/*_test.go | sed 's/func \(Fuzz[A-Za-z0-9_]*\).*/\1/'); do \
	    echo "fuzzing ./$$dir $$target for $(FUZZ_TIME)"; \
	    $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 1x ./$$dir || exit 1; \
	  done; \
	done

clean:
	rm -rf bin
