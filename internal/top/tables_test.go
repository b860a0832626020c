package top

import (
	"fmt"
	"testing"
	"time"

	"hushgate/internal/admin"
)

// TestCount: counters of shards are added up; the fullest shard is found.
func TestCount(t *testing.T) {
	counter := func(name string, n uint64, labels ...string) admin.Counter {
		c := admin.Counter{Name: name, Count: n, Labels: map[string]string{}}
		for i := 0; i < len(labels); i += 2 {
			c.Labels[labels[i]] = labels[i+1]
		}
		return c
	}
	var v Look
	v.count([]admin.Counter{
		counter("opened", 7), counter("verdicts", 1, "verdict", "quiet"), counter("verdicts", 2, "verdict", "none"),
		counter("table_entries", 90, "table", "connections", "shard", "0"), counter("table_entries", 1, "table", "passes", "shard", "0"),
		counter("table_capacity", 100, "table", "connections", "shard", "0"), counter("table_capacity", 0, "table", "passes", "shard", "0"),
		counter("table_entries", 10, "table", "connections", "shard", "1"), counter("table_capacity", 100, "table", "connections", "shard", "1"),
		counter("shard_busy", 5e9, "shard", "0"), counter("shard_busy", 1<<64-1, "shard", "1"),
	})
	if v.Counters["opened"] != 7 || v.Counters["verdicts"] != 3 {
		t.Errorf("counters: %v", v.Counters)
	}
	if got := fmt.Sprint(v.Tables); got != "[{connections 100 200 0.9} {passes 0 0 0}]" {
		t.Errorf("tables: %v", got)
	}
	if v.Busy["0"] != 5*time.Second || v.Busy["1"] < 0 {
		t.Errorf("busy: %v", v.Busy)
	}
}
