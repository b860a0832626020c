package gateway

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hushgate/dataplane"
	"hushgate/internal/config"
	"hushgate/internal/connlog"
	"hushgate/internal/mono"
)

// TestAttack: beyond a number of lines in a second rejected clients are counted, and lines and counts together are exact, over a
// reload and the end too. Delivered mail always has its line.
func TestAttack(t *testing.T) {
	for _, format := range []config.LogFormat{config.LogTCP, config.LogJSON, config.LogPostscreen} {
		t.Run(string(format), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { attacked(t, format) })
		})
	}
}

func attacked(t *testing.T, format config.LogFormat) {
	file := filepath.Join(t.TempDir(), "log")
	target := config.LogTarget{Address: "file@" + file, Format: "raw", Facility: "mail", Level: "info"}
	cfg := &config.Config{
		Global:    config.Global{LogSampleAbove: 10},
		Frontends: []config.Frontend{{Name: "ft", LogFormat: format, Log: []config.LogTarget{target}}},
	}
	names := &connlog.Names{
		Services: []connlog.Service{{Address: "192.0.2.25:25", Frontend: "ft", Backend: "bk"}},
		Servers:  []connlog.Server{{Backend: "bk", Name: "a"}},
	}
	r, err := newRecorder(cfg, mono.NewClock(), names, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	sent := map[string]int{}
	burst := func(n int) {
		for range n {
			for verdict, cause := range map[dataplane.Verdict]dataplane.Cause{
				dataplane.VerdictEarlyTalker: dataplane.CauseClientTalked, dataplane.VerdictHangup: dataplane.CauseClientRST,
				dataplane.VerdictRefused: dataplane.CauseRefused, dataplane.VerdictQuiet: dataplane.CauseFinished,
			} {
				e := dataplane.Event{Client: clientAddr, ClientPort: 4000, Server: dataplane.NoServer, Established: 1, Closed: 2}
				if format.Postscreen() {
					e.Kind = dataplane.EventOpened
					emit(r, e)
					sent["connect"]++
				}
				e.Kind, e.Verdict, e.Cause = dataplane.EventClosed, verdict, cause
				if verdict == dataplane.VerdictQuiet {
					e.Server, e.Connect, e.Connected, e.Banner = 0, 1, 1, 1
				}
				emit(r, e)
				sent[verdict.String()]++
			}
		}
	}
	burst(500)
	time.Sleep(2 * time.Second)
	burst(2) // not above
	time.Sleep(summaryEvery)
	burst(500)
	change, err := r.prepare(cfg, names)
	if err != nil {
		t.Fatal(err)
	}
	change.commit()
	burst(500)
	r.close()

	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, summaries, written := map[string]int{}, 0, 0
	count := regexp.MustCompile(`"?(connect|early-talker|hang-up|refused)"?[=:](\d+)`)
	lines := map[string]*regexp.Regexp{
		"early-talker": regexp.MustCompile(`PREGREET|"verdict":"early-talker"| PR `), "hang-up": regexp.MustCompile(`HANGUP|"hang-up"|CR `),
		"refused": regexp.MustCompile(`DENYLISTED|"verdict":"refused"`), "quiet": regexp.MustCompile(`"verdict":"quiet"| -- `),
		"connect": regexp.MustCompile(`^CONNECT`),
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "SUMMARY") || strings.Contains(line, `"summary":true`) {
			summaries++
			for _, m := range count.FindAllStringSubmatch(line, -1) {
				n, _ := strconv.Atoi(m[2])
				got[m[1]] += n
			}
			continue
		}
		written++
		for kind, of := range lines {
			if of.MatchString(line) {
				got[kind]++
				break
			}
		}
	}
	if format == config.LogTCP { // PR is both
		sent["early-talker"], got["early-talker"] = sent["early-talker"]+sent["refused"], got["early-talker"]+got["refused"]
		delete(sent, "refused")
		delete(got, "refused")
	}
	if got["connect"] == 0 {
		delete(got, "connect")
	}
	if format.Postscreen() { // what a delivered mail has there is not counted: no summary, and more than one line
		delete(sent, "quiet")
	}
	if fmt.Sprint(got) != fmt.Sprint(sent) || summaries != 3 {
		t.Errorf("%d summaries, %v, want %v\n%.2000s", summaries, got, sent, text)
	}
	if written > 4*3*10+1502*3 {
		t.Errorf("%d lines", written)
	}
}
