package lab

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// reportSite is a gateway whose log and captures reports are made from.
type reportSite struct {
	*dnsSite
	dir string
}

// reportFormats are the formats, each with a port and with the last parts of addresses of its own: of a bot and of a client that a DNS
// list has.
var reportFormats = []struct {
	format, port string
	bot, listed  int
}{{"tcplog", "25", 12, 13}, {"json", "26", 17, 15}, {"postscreen", "27", 18, 16}}

func (s *reportSite) config() []byte {
	var frontends strings.Builder
	for _, r := range reportFormats {
		fmt.Fprintf(&frontends, "  - {name: %s, bind: \":%s\", log-format: %s, log: [file@%s/%s.log], inspect-delay: 5s, default_backend: bk}\n",
			r.format, r.port, r.format, s.dir, r.format)
	}
	return fmt.Appendf(nil, `#yaml
capture: {file: %s/rejected.pcapng}
pass-ttl: 0
prefix-length: {ipv6: 128}
offenders: {after: 3, within: 1h, for: 1h, action: reset}
dnsbl: {sites: ["%s=127.0.0.[2..11]*3"], names: {%s: black.example}, threshold: 3, resolvers: "10.0.0.12:5300"}
frontends:
%sbackends:
  - name: bk
    smtpchk: HELO gateway.example.net
    default-server: {check: true, inter: 3s, downinter: 500ms, rise: 1, fall: 1}
    servers: [{name: a4, address: "%s:25"}, {name: b4, address: "%s:25"}, {name: a6, address: "[%s]:25"}]
`, s.dir, blackList, blackList, &frontends, Server4a, Server4b, Server6a)
}

// meet has a format's clients of a family come: a bot talks early three times and comes a fourth time, one client gives up, one is on
// a DNS list, and one delivers.
func (s *reportSite) meet(f family, port string, bot, listed int) error {
	vip := net.JoinHostPort(f.vip, port)
	from := func(host int) string {
		if f.name == "ipv6" {
			return ClientAddr6(host - 10)
		}
		return ClientAddr4(host - 10)
	}
	for _, wait := range []time.Duration{0, 300 * time.Millisecond, time.Second} {
		if seen, err := s.l.Bot(s.ctx, from(bot), vip, wait, "EHLO bot.example.net\r\n", 5*time.Second); err != nil || seen.End != EndReset {
			return fmt.Errorf("the bot of port %s saw %+v, %w", port, seen, err)
		}
	}
	_, _ = s.l.Bot(s.ctx, from(bot), vip, 0, "", 5*time.Second) // reset at once, perhaps before it knows that it is connected
	if err := s.l.HangUp(s.ctx, from(19), vip, 1300*time.Millisecond, true); err != nil {
		return err
	}
	if _, err := s.l.Bot(s.ctx, from(listed), vip, 0, "", 5*time.Second); err != nil {
		return err
	}
	_, err := s.l.Deliver(s.ctx, from(11), vip, strings.NewReader("Subject: x\r\n\r\nx\r\n"))
	return err
}

// report is what `hushgate report` prints.
func (s *reportSite) report(args ...string) string {
	s.Helper()
	var out, notes bytes.Buffer
	cmd := exec.CommandContext(s.ctx, binary, append([]string{"report", "--since", "1h"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &notes
	if err := cmd.Run(); err != nil || notes.Len() > 0 {
		s.Fatalf("hushgate report %v: %v\n%s", args, err, &notes)
	}
	return out.String()
}

// part returns the rows of a table of a report, as words.
func part(report, title string) (rows [][]string) {
	_, rest, _ := strings.Cut(report, "\n"+title+"\n")
	table, _, _ := strings.Cut(rest, "\n\n")
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "  ") {
			rows = append(rows, strings.Fields(line))
		}
	}
	return rows
}

// early returns the column about early talkers with the names of the rows, those left out where it is 0.
func early(rows [][]string, column int) (list []string) {
	for _, row := range rows[min(1, len(rows)):] {
		name := row[0]
		if strings.Contains(row[1], ":") { // a day and an hour
			name, row = name+" "+row[1], row[1:]
		}
		if row[column] != "0" {
			list = append(list, name+" "+row[column])
		}
	}
	return list
}

// TestReport: reports from the logs of real traffic, in each format, say who came and what became of them, and the report from the
// captures agrees with them.
func TestReport(t *testing.T) {
	beside(t)
	ctx, l := site(t, Options{})
	s := &reportSite{&dnsSite{T: t, ctx: ctx, l: l}, t.TempDir()}
	servers := mtas(t, l, families[0])
	_, err := NewMTA(l.Servers[0], net.JoinHostPort(families[1].a, "25"), nil)
	must(t, err)
	startLists(s.dnsSite)
	s.g = gateway(ctx, t, l, s.config())
	var group errgroup.Group
	for _, f := range families {
		for _, r := range reportFormats {
			group.Go(func() error { return s.meet(f, r.port, r.bot, r.listed) })
		}
	}
	must(t, group.Wait(), servers[1].Stop())
	waitForLine(ctx, t, s.g, "Server bk/b4 is DOWN")
	must(t, servers[1].Start())
	waitForLine(ctx, t, s.g, "Server bk/b4 is UP")
	if out, err := l.hushgate(ctx, "servers", "drain", "bk/b4"); err != nil {
		t.Fatal(err, out)
	}
	must(t, s.g.Stop())
	if to := os.Getenv("HUSHGATE_LOG_SAMPLES"); to != "" {
		must(t, os.CopyFS(to, os.DirFS(s.dir)))
	}
	s.compare()
}

// rows are those of a table that must be there, in whatever words follow.
func (s *reportSite) rows(format, report, title string, want ...string) {
	s.Helper()
	rows := part(report, title)
	if len(rows) != len(want)+1 {
		s.Errorf("%s: %s: %v, want %q", format, title, rows, want)
		return
	}
	for i, w := range want {
		if got := strings.Join(rows[i+1], " "); !strings.HasPrefix(got+" ", w+" ") {
			s.Errorf("%s: %s: %s, want %s", format, title, got, w)
		}
	}
}

// compare looks into the report of each format, and compares it with the one from the captures.
func (s *reportSite) compare() {
	s.Helper()
	for _, r := range reportFormats {
		log := s.report(filepath.Join(s.dir, r.format+".log"))
		early, refused := 6, 4
		if r.format == "tcplog" { // all that are PR count as early talk there
			early, refused = 10, 0
		}
		verdicts := part(log, "Verdicts by hour")
		if all := strings.Join(verdicts[len(verdicts)-1], " "); all != fmt.Sprintf("all 2 %d 2 %d 0 0", early, refused) {
			s.Errorf("%s: %s\n%s", r.format, all, log)
		}
		s.rows(r.format, log, "Networks of rejected clients", fmt.Sprintf("198.18.0.0/24 %d %d", early/2, refused/2), fmt.Sprintf("2001:db8:1::/64 %d %d", early/2, refused/2))
		s.rows(r.format, log, "Gave up while waiting", "198.18.0.0/24 1", "2001:db8:1::/64 1")
		s.rows(r.format, log, "Servers that were down", "bk/b4 1")
		if down := part(log, "Servers that were down"); !strings.HasSuffix(strings.Join(down[len(down)-1], " "), " drained") {
			s.Errorf("%s: %v", r.format, down)
		}
		switch r.format {
		case "tcplog":
			continue
		case "postscreen":
			s.rows(r.format, log, "DNS lists that have clients", "(not named) 0 0 0 2")
		case "json":
			s.rows(r.format, log, "DNS lists that have clients", "black.example 0 0 0 2")
			s.rows(r.format, log, "Offenders", "198.18.0.17 1", "2001:db8:1::17 1")
			for _, row := range part(log, "Offenders")[1:] {
				if row[len(row)-1] != "1" {
					s.Errorf("of an offender not 1 connection was refused: %v", row)
				}
			}
		}
		s.agree(r.format, log, s.report("--port", r.port, s.dir))
	}
}

// steps are the rows in which a number rises: the table has rows for those who gave up, too.
func steps(rows []string) []string {
	return slices.CompactFunc(rows, func(a, b string) bool { return strings.Fields(a)[1] == strings.Fields(b)[1] })
}

// agree compares what logs and captures both know: the early talkers, by hour, network and signature, and when they talked.
func (s *reportSite) agree(format, log, captured string) {
	s.Helper()
	for title, column := range map[string]int{
		"Verdicts by hour": 2, "Networks of rejected clients": 1, "TCP signatures": 2, "When early talkers talk": 1,
	} {
		a, b := early(part(log, title), column), early(part(captured, title), column)
		if column == 1 && strings.HasPrefix(title, "When") {
			if format == "postscreen" { // it rounds times
				continue
			}
			a, b = steps(a), steps(b)
		}
		if len(a) == 0 || !slices.Equal(a, b) {
			s.Errorf("%s: %s: the log says %q, the captures say %q\n%s\n%s", format, title, a, b, log, captured)
		}
	}
}
