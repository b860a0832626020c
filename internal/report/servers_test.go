package report

import (
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rotated writes a log of several days as logrotate leaves it: a line of each file is its day, the rest are lines.
func rotated(t *testing.T, files map[string]string, times map[string]time.Time) (log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "mail.log")
	for suffix, text := range files {
		f, err := os.Create(log + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(suffix, ".gz") {
			z := gzip.NewWriter(f)
			_, _ = z.Write([]byte(text))
			_ = z.Close()
		} else {
			_, _ = f.WriteString(text)
		}
		_ = f.Close()
		if err := os.Chtimes(log+suffix, times[suffix], times[suffix]); err != nil {
			t.Fatal(err)
		}
	}
	return log
}

// downtimes are the rows about servers and backends.
func downtimes(r *Report) (rows []string) {
	for _, t := range []table{r.serverTable(), r.backendTable()} {
		for _, row := range t.Rows {
			rows = append(rows, strings.Join(row, " "))
		}
	}
	return rows
}

// TestDowntime: outages are counted over midnight, over rotated and compressed files, from before the report's time and to its end, and
// over a restart of hushgate, after which servers count as up without a line.
func TestDowntime(t *testing.T) {
	const (
		down = "Server bk/%s is DOWN, reason: Layer4 timeout, check duration: 1ms. 1 active and 0 backup servers left.\n"
		up   = "Server bk/%s is UP, reason: Layer7 check passed, check duration: 1ms. 2 active and 0 backup servers online.\n"
	)
	line := func(stamp, format string, args ...any) string {
		return stamp + " gate hushgate[1]: " + fmt.Sprintf(format, args...)
	}
	log := rotated(t, map[string]string{
		".3.gz": line("Nov 24 08:00:00", down, "old") + line("Nov 24 09:00:00", down, "mended"),
		".2.gz": line("Nov 25 10:00:00", up, "mended") + line("Nov 25 23:59:30", down, "night"),
		".1": line("Nov 26 00:00:30", up, "night") + line("Nov 26 10:00:00", down, "a") + line("Nov 26 10:00:00", down, "a") + // by TCP a line may come twice
			line("Nov 26 10:05:00", up, "a") + line("Nov 26 12:00:00", down, "b") + line("Nov 26 12:00:00", "backend bk has no server available!\n") +
			line("Nov 26 12:10:30", "198.18.0.7:4000 [26/Nov/2026:12:10:00.000] ft bk/b 20000/1/30000 50 -- 1/1/0/0/0 0/0\n") +
			line("Nov 26 23:50:00", "Server bk/c is going DOWN for maintenance. 1 active and 0 backup servers left.\n"),
		"": line("Nov 27 00:10:00", "Server bk/c is UP/READY (leaving forced maintenance).\n") + line("Nov 27 01:00:00", down, "d") +
			line("Nov 27 02:00:00", "Server bk/e enters drain state. 1 active and 0 backup servers left.\n") + line("Nov 27 03:00:00", down, "e") +
			line("Nov 27 04:00:00", "Server bk/e is UP (leaving forced drain).\n"),
	}, map[string]time.Time{
		".3.gz": time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), ".2.gz": time.Date(2026, 11, 25, 23, 59, 59, 0, time.UTC),
		".1": time.Date(2026, 11, 26, 23, 59, 59, 0, time.UTC), "": time.Date(2026, 11, 27, 5, 0, 0, 0, time.UTC),
	})
	from, to := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	r := New(from, to)
	if unknown, err := r.Read(t.Context(), []string{log}, nil, time.UTC); err != nil || unknown != 0 {
		t.Errorf("%d lines unknown, %v", unknown, err)
	}
	want := []string{
		"bk/a 1 5m0s 0s up", "bk/b 1 10m20s 0s up", "bk/c 0 0s 20m0s up", "bk/d 1 5h0m0s 0s down", "bk/e 1 3h0m0s 2h0m0s down",
		"bk/night 1 30s 0s up", "bk/old 1 30h0m0s 0s down", "bk 1 10m20s served",
	}
	if got := downtimes(r); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the report says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
