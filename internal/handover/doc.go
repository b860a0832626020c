// Package handover is the conversation in which one hushgate hands its connections over to its successor.
//
// It takes place over a unix socket. A message is one octet for its kind, four octets for its length, and its body of that
// length. One file descriptor may come with it. The taker is the successor, and the giver is the process that ends. The
// messages come in this order:
//
//	taker  hello     the versions of this conversation that it knows
//	giver  head      JSON: the configuration's tables. Nothing has been handed over yet
//	taker  ready     it has a configuration, rules, and packet sockets that receive nothing yet, and could start at once
//	giver  state     JSON: it has stopped between two batches; this is all that it knows except connections
//	giver  file      a packet socket, with JSON that identifies it; one message for each, the last one with the lock
//	giver  records   connections, as dataplane.AppendRecord writes them, in as many messages as are needed
//	giver  end       the number of connections, and the SHA-256 of their records
//	taker  take      it has understood all of that
//	giver  yours     from here on the connections are the taker's, and the giver ends
//
// Either side may send "no" with its reason instead of any of these messages. Until it has sent "yours", the giver has only
// stopped. After a "no", the end of the conversation, or silence for too long it continues as before. After "yours" it never
// continues.
package handover
