package doctor

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"hushgate/dataplane/port"
)

// The size of what is remembered, in octets of process memory: see the benchmarks of dataplane and internal/policy.
const (
	perConnection = 128
	perPass       = 32
	perClient     = 56
	perRecalled   = 270 // see internal/recall
)

// capacity compares what the tables can grow to with the machine.
func capacity(_ context.Context, s *Site) (list []Finding) {
	known := s.Plan.Tables.Memory.WithDefaults()
	need := uint64(s.Says.MaxConn)*perConnection + uint64(known.Passes)*perPass + uint64(known.Clients)*perClient + uint64(s.Says.Recall)*perRecalled
	queues := uint64(len(s.links())*s.Plan.Shards) * uint64(cmp.Or(s.Says.ReceiveBuffer, port.DefaultReceiveBuffer))
	list = append(list, memory(need, queues, available(s.read("proc/meminfo"))))
	if s.Plan.Shards > s.Network.Processors {
		list = append(list, Finding{
			Subject: "shards", Grade: Warning, Found: fmt.Sprintf("there are %d shards, and %d processors", s.Plan.Shards, s.Network.Processors),
			Means: "shards wait for one another", Mend: "leave `shards` out",
		})
	} else {
		list = append(list, Finding{Subject: "shards", Found: fmt.Sprintf("there are %d, and %d processors", s.Plan.Shards, s.Network.Processors)})
	}
	return list
}

// memory judges the memory for full tables and full queues, in octets.
func memory(need, queues, free uint64) Finding {
	text := fmt.Sprintf("full tables need %s, full receive queues %s; %s are available", mib(need), mib(queues), mib(free))
	switch {
	case free == 0:
		return Finding{Subject: "memory", Grade: Unknown, Found: "/proc/meminfo cannot be read"}
	case need+queues > free:
		return Finding{Subject: "memory", Grade: Warning, Found: text, Means: "a flood could bring the machine to its end", Mend: "lower maxconn, pass-entries or recall, or add memory"}
	}
	return Finding{Subject: "memory", Found: text}
}

func mib(n uint64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }

// available reads MemAvailable from /proc/meminfo, in octets; 0 if it is not there.
func available(text string) uint64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "MemAvailable:" {
			n, _ := strconv.ParseUint(words[1], 10, 64)
			return n << 10
		}
	}
	return 0
}
