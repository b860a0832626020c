package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// metricsAddress is where the gateway's metrics are in these tests, and prometheusAddress where a Prometheus is.
const (
	metricsAddress    = "127.0.0.1:9163"
	prometheusAddress = "127.0.0.1:9090"
)

// listedResolver is where a resolver is on the gateway that knows the list black.test.
const listedResolver = "127.0.0.1:5300"

// metricsConfig serves IPv4 with a short delay, and metrics at an address. All that has numbers is in use.
func metricsConfig(at, captures string) []byte {
	return fmt.Appendf(nil, `#yaml
metrics: %q
pass-ttl: 0s
capture: {file: %q}
offenders: {after: 8, action: drop}
dnsbl: {sites: [black.test=127.0.0.2*1, black.test=127.0.0.3*1], threshold: 2, resolvers: [%q]}
frontends:
  - {name: smtp, bind: "%s:25", inspect-delay: 2s, default_backend: mx, access: [reject: 203.0.113.0/24]}
backends:
  - name: mx
    smtpchk: HELO gateway.example.net
    default-server: {check: true, inter: 1s}
    servers: [{name: smtp1, address: "%s:25"}, {name: smtp2, address: "%s:25"}]
`, at, captures, listedResolver, ShapeVIP4, Server4a, Server4b)
}

// web is an HTTP client on a host.
func web(h *Host) *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, to string) (net.Conn, error) { return h.Dial(ctx, "", to) },
		DisableKeepAlives: true,
	}}
}

// fetch returns the body of a page; an error if its status is another than 200.
func fetch(ctx context.Context, c *http.Client, from string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return "", err
	}
	a, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer func() { _ = a.Body.Close() }()
	b, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", from, a.Status, b)
	}
	return string(b), err
}

// sample returns the value of a metric in Prometheus' text; "" if it is not there.
func sample(text, series string) string {
	_, rest, _ := strings.Cut("\n"+text, "\n"+series+" ")
	v, _, _ := strings.Cut(rest, "\n")
	return v
}

// allKinds lets a bot talk early, a client hang up, and mails arrive.
func allKinds(ctx context.Context, t *testing.T, l *Lab, mtas map[string]*MTA) {
	t.Helper()
	bot, err := l.Bot(ctx, ShapeClient4(2), ShapeVIP4+":25", 50*time.Millisecond, "EHLO bot\r\n", 5*time.Second)
	must(t, err)
	if bot.End != EndReset {
		t.Errorf("the bot: %+v", bot)
	}
	must(t, l.HangUp(ctx, ShapeClient4(3), ShapeVIP4+":25", 50*time.Millisecond, true))
	talkAndMail(ctx, t, l, mtas, both[:1]...)
}

// TestMetrics: Prometheus' own tools accept the metrics, they count what real clients did, a real Prometheus scrapes them,
// and finds what each panel of the dashboard asks for. They move with a reload, and survive an upgrade.
func TestMetrics(t *testing.T) {
	ctx, l := shape(t, TwoArms)
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%v (make install-deps)", err)
		}
	}
	mtas := startMTAs(t, l, both[:1]...)
	startListed(t, l.Gateway)
	g := gateway(ctx, t, l, metricsConfig(metricsAddress, filepath.Join(t.TempDir(), "rejected.pcapng")))
	client, page := web(l.Gateway), "http://"+metricsAddress+"/metrics"
	allKinds(ctx, t, l, mtas)
	var text string
	waitFor(t, "the metrics to count what clients did", func() bool {
		var err error
		text, err = fetch(ctx, client, page)
		must(t, err)
		return sample(text, `hushgate_frontend_verdicts_total{frontend="smtp",verdict="hang-up"}`) == "1" && // both are logged after the client's end
			sample(text, `hushgate_verdicts_total{verdict="quiet"}`) != "0"
	})
	promtool(ctx, t, text)
	for series, want := range map[string]string{
		"hushgate_ready":  "1",
		"hushgate_stress": "0",
		`hushgate_client_first_octet_seconds_bucket{early="true",le="0.025"}`:           "0",
		`hushgate_hang_up_seconds_count`:                                                "1",
		`hushgate_server_up{backend="mx",server="smtp1"}`:                               "1",
		`hushgate_server_check_result_info{backend="mx",code="L7OK",server="smtp1"}`:    "1",
		`hushgate_server_check_results_total{backend="mx",code="L4CON",server="smtp1"}`: "0",
		`hushgate_server_state{backend="mx",server="smtp1",state="ready"}`:              "1",
		`hushgate_server_state{backend="mx",server="smtp1",state="drain"}`:              "0",
		`hushgate_interface_present{interface="eth0"}`:                                  "1",
		`hushgate_interface_frames_lost_total{interface="eth0",where="receive-queue"}`:  "0",
		`hushgate_interface_frames_dropped_total{interface="eth0",reason="checksum"}`:   "0",
		`hushgate_kernel_offenders_entries`:                                             "0",
		`hushgate_config_last_reload_successful`:                                        "1",
		`hushgate_config_reloads_total{result="failure"}`:                               "0",
		`hushgate_dns_list_answers_total{list="black.test",result="silent"}`:            "0",
		`hushgate_dns_resolver_resting{resolver="` + listedResolver + `"}`:              "0",
		`hushgate_dns_lookups_unasked_total`:                                            "0",
		`hushgate_capture_lost_total`:                                                   "0",
		`hushgate_redispatches_total`:                                                   "0",
	} {
		if got := sample(text, series); got != want {
			t.Errorf("%s is %q, want %q in\n%s", series, got, want, text)
		}
	}
	for _, series := range []string{ // what has happened, however often
		`hushgate_interface_frames_total{direction="in",interface="eth0"}`, `hushgate_interface_frames_total{direction="out",interface="eth1"}`,
		`hushgate_interface_octets_total{direction="in",interface="eth1"}`, `hushgate_shard_turns_total{shard="0"}`, `hushgate_shard_frames_total{shard="1"}`,
		`hushgate_shard_busy_seconds_total{shard="1"}`, `hushgate_table_capacity{shard="0",table="half-open"}`, `hushgate_table_capacity{shard="1",table="offenders"}`,
		`hushgate_server_check_results_total{backend="mx",code="L7OK",server="smtp1"}`, `hushgate_server_check_seconds_count{backend="mx",server="smtp2"}`,
		`hushgate_dns_list_answers_total{list="black.test",result="listed"}`, `hushgate_dns_list_query_seconds_count{list="black.test"}`,
		`hushgate_dns_cache_entries`, `hushgate_dns_answers_total{answer="neutral"}`, `hushgate_past_connections`, `hushgate_rule_matches_total{rule="delay"}`,
	} {
		if got := sample(text, series); got == "" || got == "0" {
			t.Errorf("%s is %q in\n%s", series, got, text)
		}
	}
	documented(t, text)
	prometheus(ctx, t, l)
	waitFor(t, "Prometheus to have scraped twice", func() bool {
		return len(query(ctx, t, client, `changes(process_cpu_seconds_total{job="hushgate"}[1m]) > 0 and count_over_time(hushgate_ready[1m]) > 2`)) > 0
	})
	allKinds(ctx, t, l, mtas)
	for _, p := range panels(t) {
		waitFor(t, fmt.Sprintf("data for the panel %q: %s", p.title, p.expr), func() bool { return p.mayBeEmpty || len(query(ctx, t, client, p.expr)) > 0 })
	}
	if alerts := query(ctx, t, client, `ALERTS{alertname=~"Hushgate.*", alertstate="firing"}`); len(alerts) > 0 {
		t.Errorf("alerts: %v", alerts)
	}
	refusedReload(ctx, t, g, client)
	sh(ctx, t, l.Gateway, binary+" upgrade")
	var after string
	var err error
	waitFor(t, "the new process to serve the metrics", func() bool { // a connection that the old one has not served yet ends with it
		after, err = fetch(ctx, client, page)
		return err == nil
	})
	for _, series := range []string{
		`hushgate_frontend_verdicts_total{frontend="smtp",verdict="early-talker"}`, `hushgate_verdicts_total{verdict="quiet"}`,
		`hushgate_rule_matches_total{rule="delay"}`, `hushgate_server_check_results_total{backend="mx",code="L7OK",server="smtp1"}`,
	} {
		was, err := strconv.ParseFloat(sample(text, series), 64)
		must(t, err)
		if now, err := strconv.ParseFloat(sample(after, series), 64); err != nil || now < was {
			t.Errorf("%s was %v before an upgrade, and is %v after it (%v)", series, was, now, err)
		}
	}
	if len(query(ctx, t, client, `up{job="hushgate"} == 1`)) != 1 {
		t.Error("Prometheus has lost the gateway")
	}
}

// refusedReload has the gateway refuse a file and then take one. Prometheus hears of both.
func refusedReload(ctx context.Context, t *testing.T, g *Gateway, client *http.Client) {
	t.Helper()
	good, err := os.ReadFile(g.File)
	must(t, err)
	must(t, os.WriteFile(g.File, append(good, "nonsense: 1\n"...), 0o600))
	must(t, g.Signal(syscall.SIGHUP))
	_, err = g.WaitLine(ctx, "the configuration was not reloaded")
	must(t, err)
	const alert = `ALERTS{alertname="HushgateReloadRefused", alertstate="firing"}`
	waitFor(t, "the alert about a refused reload", func() bool { return len(query(ctx, t, client, alert)) == 1 })
	must(t, os.WriteFile(g.File, good, 0o600))
	must(t, g.Signal(syscall.SIGHUP))
	_, err = g.WaitLine(ctx, "configuration reloaded")
	must(t, err)
	waitFor(t, "its end", func() bool {
		return len(query(ctx, t, client, alert)) == 0 && len(query(ctx, t, client, `hushgate_config_reloads_total == 1`)) == 2
	})
}

// documented: each metric of the gateway has a line in docs/metrics.md.
func documented(t *testing.T, text string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	must(t, err)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (hushgate_\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		if !bytes.Contains(page, fmt.Appendf(nil, "| `%s` | %s |", m[1], m[2])) {
			t.Errorf("%s is not documented", m[1])
		}
	}
}

// startListed starts a resolver on a host, for a list that has every address but the one that no list may have.
func startListed(t *testing.T, h *Host) {
	t.Helper()
	var packets net.PacketConn
	must(t, h.Do(func() (err error) {
		packets, err = net.ListenPacket("udp", listedResolver)
		return err
	}))
	started := make(chan struct{})
	s := &dns.Server{PacketConn: packets, NotifyStartedFunc: func() { close(started) }}
	s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if name := q.Question[0].Name; strings.HasPrefix(name, "1.0.0.127.") {
			m.Rcode = dns.RcodeNameError
		} else if record, err := dns.NewRR(name + " 300 A 127.0.0.2"); err == nil {
			m.Answer = append(m.Answer, record)
		}
		_ = w.WriteMsg(m)
	})
	go func() { _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown() })
}

// promtool checks metrics against Prometheus' conventions.
func promtool(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	check := exec.CommandContext(ctx, "promtool", "check", "metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v:\n%s", err, out)
	}
}

// prometheus starts a Prometheus on the gateway, with hushgate's alerts.
func prometheus(ctx context.Context, t *testing.T, l *Lab) {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs("../../contrib/prometheus/hushgate.rules.yml")
	must(t, err)
	must(t, os.WriteFile(dir+"/prometheus.yml", fmt.Appendf(nil, `
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs: [{job_name: hushgate, static_configs: [{targets: [%q]}]}]
`, rules, metricsAddress), 0o600))
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "prometheus", "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data",
		"--web.listen-address="+prometheusAddress, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, l.Gateway.Start(cmd))
	t.Cleanup(func() {
		Kill(cmd)
		if t.Failed() {
			t.Logf("prometheus: %s", &out)
		}
	})
	client := web(l.Gateway)
	waitFor(t, "Prometheus to start", func() bool {
		_, err := fetch(ctx, client, "http://"+prometheusAddress+"/-/ready")
		return err == nil
	})
}

// query returns the series that a query finds.
func query(ctx context.Context, t *testing.T, c *http.Client, expr string) []json.RawMessage {
	t.Helper()
	text, err := fetch(ctx, c, "http://"+prometheusAddress+"/api/v1/query?query="+url.QueryEscape(expr))
	must(t, err)
	var a struct {
		Status string
		Data   struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil || a.Status != "success" {
		t.Fatalf("%s: %v: %s", expr, err, text)
	}
	return a.Data.Result
}

// panelQuery is a query of the dashboard.
type panelQuery struct {
	title, expr string
	mayBeEmpty  bool
}

// panels reads the queries of the dashboard, with its variables filled in as Grafana does.
func panels(t *testing.T) (list []panelQuery) {
	t.Helper()
	text, err := os.ReadFile("../../contrib/grafana/hushgate.json")
	must(t, err)
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal(text, &d))
	vars := strings.NewReplacer("$job", "hushgate", "$instance", ".*", "$__rate_interval", "1m")
	for _, p := range d.Panels {
		for _, q := range p.Targets {
			list = append(list, panelQuery{p.Title, vars.Replace(q.Expr), strings.HasSuffix(q.Expr, "> 0")})
		}
	}
	if len(list) < 10 {
		t.Fatalf("the dashboard has %d queries", len(list))
	}
	return list
}

// TestAlerts: Prometheus' own tools accept the alerts, and each alert is given for what it is about.
func TestAlerts(t *testing.T) {
	dir := "../../contrib/prometheus"
	for _, args := range [][]string{{"check", "rules", "hushgate.rules.yml"}, {"test", "rules", "test.yml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			if _, lacks := exec.LookPath("promtool"); lacks != nil && os.Getenv("HUSHGATE_LAB") == "" {
				t.Skip("promtool is not installed")
			}
			t.Errorf("promtool %s: %v:\n%s", strings.Join(args, " "), err, out)
		}
	}
	rules, err := os.ReadFile(dir + "/hushgate.rules.yml")
	must(t, err)
	tests, err := os.ReadFile(dir + "/test.yml")
	must(t, err)
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
		if !bytes.Contains(tests, fmt.Appendf(nil, "alertname: %s\n", m[1])) {
			t.Errorf("no test of the alert %s", m[1])
		}
	}
}
