package debian

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hushgate/internal/lab"
)

// TestVagrantfile: Vagrant accepts the file, without any provider of machines.
func TestVagrantfile(t *testing.T) {
	ctx := need(t, "ruby", "vagrant")
	run(t, ctx, "ruby", "-c", "../../Vagrantfile")
	if out := run(t, ctx, "env", "VAGRANT_HOME="+t.TempDir(), "VAGRANT_DOTFILE_PATH="+t.TempDir(), "VAGRANT_CWD=../..",
		"vagrant", "validate", "--ignore-provider"); !strings.Contains(out, "validated successfully") {
		t.Error(out)
	}
	// The addresses are those in the scripts.
	text, err := os.ReadFile("../../Vagrantfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range vagrantHosts {
		if !strings.Contains(string(text), `"`+h.name+`"`) || !strings.Contains(string(text), `"`+h.address+`"`) {
			t.Errorf("the Vagrantfile does not have %s with %s", h.name, h.address)
		}
	}
}

// vagrantHosts are the machines as the Vagrantfile makes them. (The gateway has 10.0.0.1 as well.)
var vagrantHosts = []struct{ name, address, network string }{
	{"gateway", "192.0.2.25", "outside"},
	{"client", "192.0.2.10", "outside"},
	{"bot", "192.0.2.66", "outside"},
	{"mx1", "10.0.0.11", "inside"},
	{"mx2", "10.0.0.12", "inside"},
}

// TestVagrant runs the scripts that Vagrant would run, in machines of the same names with the same addresses, and then the
// demonstration that the user runs.
func TestVagrant(t *testing.T) {
	ctx := need(t, "systemd-nspawn", "mmdebstrap", "nsenter")
	hosts := vagrantNetwork(t)
	scripts, err := filepath.Abs("../lab/vagrant")
	if err != nil {
		t.Fatal(err)
	}
	machines := map[string]*machine{}
	for _, h := range vagrantHosts {
		machines[h.name] = boot(t, ctx, hosts[h.name], scripts+":/vagrant", packages(t)+":/dist")
	}
	for _, name := range []string{"mx1", "mx2"} {
		machines[name].sh(t, ctx, "/vagrant/server.sh && /vagrant/server.sh") // "always"
	}
	machines["gateway"].sh(t, ctx, "DELAY=2s /vagrant/gateway.sh")
	machines["bot"].sh(t, ctx, "BOT=/vagrant/bot /vagrant/bot.sh")

	out := machines["client"].sh(t, ctx, "/vagrant/demo")
	t.Log(out)
	for _, name := range []string{"mx1", "mx2"} {
		log := machines[name].sh(t, ctx, "journalctl -b --no-pager -o cat | grep -E 'client=|status=|connect from'")
		for _, want := range []string{"client=unknown[192.0.2.10]", "status=sent (delivered to mailbox)"} {
			if !strings.Contains(log, want) {
				t.Errorf("%s's log: no %q in\n%s", name, want, log)
			}
		}
	}
	lines := machines["gateway"].sh(t, ctx, "journalctl -b --no-pager -o cat -u hushgate")
	if n := strings.Count(lines, " PR "); n != 2 {
		t.Errorf("%d connections were rejected, want the bot's two:\n%s", n, lines)
	}

	machines["gateway"].sh(t, ctx, "systemctl stop hushgate")
	if out, err := machines["client"].try(context.WithoutCancel(ctx), "/vagrant/demo"); err == nil || !strings.Contains(out, "demo: missing") {
		t.Errorf("without a gateway the demonstration says: %v: %s", err, out)
	}
}

// vagrantNetwork makes the hosts, and two networks that join them.
func vagrantNetwork(t *testing.T) map[string]*lab.Host {
	t.Helper()
	hosts := map[string]*lab.Host{}
	host := func(name string) *lab.Host {
		h, err := lab.NewHost(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		hosts[name] = h
		return h
	}
	ports := map[string][]string{}
	join := func(h *lab.Host, ifname, network, address string) {
		port := "to-" + h.Name
		if err := lab.Connect(h, ifname, hosts[network], port, 1500); err != nil {
			t.Fatal(err)
		}
		ports[network] = append(ports[network], port)
		if err := h.Addr(ifname, address+"/24"); err != nil {
			t.Fatal(err)
		}
	}
	host("outside")
	host("inside")
	for _, h := range vagrantHosts {
		join(host(h.name), "eth1", h.network, h.address)
	}
	join(hosts["gateway"], "eth2", "inside", "10.0.0.1")
	for network, p := range ports {
		if err := lab.Switch(hosts[network], p...); err != nil {
			t.Fatal(err)
		}
	}
	return hosts
}
