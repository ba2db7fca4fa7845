using KvCache.Checksums;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Cluster;
using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <content>What silos do by themselves: gossip, copies, and looking through Redis.</content>
internal sealed partial class World
{
    private const int DeltasPerMessage = 5;
    private const int DeltasPerPage = 2;

    private readonly List<FullCopy> _fullCopies = [];
    private readonly List<Arrival> _arrivals = [];

    private void Poll(ModelSilo silo)
    {
        if (silo.Members.Peers.Length > 0)
            Poll(silo, silo.Members.Peers[_dice.Next(silo.Members.Peers.Length)]);
    }

    // As PeerLink does, but without waiting for one answer before the next question.
    private void Poll(ModelSilo reader, PeerSilo peer)
    {
        var sender = Find(peer.Address);
        if (!peer.Replica.IsLive)
        {
            AskForFullCopy(reader, peer, sender);
            return;
        }

        var from = peer.Replica.Next;
        Network.Send(new Message("news?", -1, reader.Node, sender.Node, () => Tell(from), peer.Lost, Repeatable: true));

        void Tell(ulong number)
        {
            var log = sender.Directory.Log;
            var deltas = new IndexDelta[DeltasPerMessage];
            var count = log.Read(number, deltas, out var first);
            var news = new PeerNews(log.Incarnation, first, count, log.Next, sender.Store.AvailableBytes, sender.Store.Clock);
            var text = Trace.Kept ? $"news from {first}: {Words(deltas.AsSpan(0, Math.Max(0, count)))}" : "news";
            Network.Send(new Message(text, -1, sender.Node, reader.Node, () => Apply(news, deltas), peer.Lost, Repeatable: true));
        }

        void Apply(PeerNews news, IndexDelta[] deltas)
        {
            peer.Replica.Witness(news.Clock);
            if (news.Count == IndexLog.Gap)
            {
                AskForFullCopy(reader, peer, sender);
                return;
            }

            var outcome = peer.Replica.Apply(news.Incarnation, news.First, deltas.AsSpan(0, news.Count));
            if (outcome == ReplicaOutcome.NeedsSnapshot)
                AskForFullCopy(reader, peer, sender);
            else if (outcome == ReplicaOutcome.Applied)
                Hear(reader, deltas.AsSpan(0, news.Count));
            if (outcome != ReplicaOutcome.Dead)
                peer.Heard(news, news.Next - Math.Min(news.Next, peer.Replica.Next), asked: 0);
        }
    }

    private void AskForFullCopy(ModelSilo reader, PeerSilo peer, ModelSilo sender)
    {
        if (_fullCopies.Exists(copy => copy.Reader == reader && copy.Sender == sender))
            return;
        Network.Send(new Message("everything?", -1, reader.Node, sender.Node, Begin, Lost: null, Repeatable: false));

        void Begin()
        {
            var copy = new FullCopy(reader, peer, sender, new DirectorySnapshot(sender.Directory));
            _fullCopies.Add(copy);
            if (Mutation != Mutation.NumbersCopiesLate)
                SendPage(copy, []);
        }
    }

    private void AdvanceFullCopy()
    {
        if (_fullCopies.Count > 0)
            Advance(_dice.Pick(_fullCopies));
    }

    private void Advance(FullCopy copy)
    {
        var deltas = new List<IndexDelta>();
        var more = copy.Snapshot.Read(deltas);

        // The order inside of a chunk is that of the index, which has a secret of the process.
        deltas.Sort((left, right) => TestBlocks.NumberOf(left.Key) - TestBlocks.NumberOf(right.Key));
        copy.Unsent.AddRange(deltas);
        if (Mutation == Mutation.NumbersCopiesLate && more)
            return;
        copy.Sequence = Mutation == Mutation.NumbersCopiesLate ? copy.Sender.Directory.Log.Next : copy.Snapshot.Sequence;
        if (copy.Pages == 0)
            SendPage(copy, []);
        foreach (var page in copy.Unsent.Chunk(DeltasPerPage))
            SendPage(copy, page);
        copy.Unsent.Clear();
        if (more)
            return;
        _fullCopies.Remove(copy);
        var pages = copy.Pages;
        Network.Send(
            new Message("end of everything", -1, copy.Sender.Node, copy.Reader.Node,
            () => copy.Peer.Replica.EndSnapshot(copy.Ticket, pages), Lost: null, Repeatable: true));
    }

    private void SendPage(FullCopy copy, IndexDelta[] deltas)
    {
        var page = copy.Pages++;
        var incarnation = copy.Sender.Directory.Log.Incarnation;
        var clock = copy.Sender.Store.Clock;
        var text = Trace.Kept ? $"page {page} of everything: {Words(deltas)}" : "page";
        Network.Send(new Message(text, -1, copy.Sender.Node, copy.Reader.Node, Take, Lost: null, Repeatable: true));

        void Take()
        {
            var replica = copy.Peer.Replica;
            replica.Witness(clock);
            if (copy.Ticket == 0 && page == 0)
                copy.Ticket = replica.BeginSnapshot(incarnation, copy.Sequence);
            if (copy.Ticket != 0 && replica.ApplySnapshotPage(copy.Ticket, incarnation, page, deltas) == ReplicaOutcome.Applied)
                Hear(copy.Reader, deltas);
        }
    }

    private static void Hear(ModelSilo silo, ReadOnlySpan<IndexDelta> deltas)
    {
        foreach (ref readonly var delta in deltas)
        {
            if (delta.Operation == IndexOperation.Deleted)
                silo.Hear(TestBlocks.NumberOf(delta.Key), delta.Stamp);
        }
    }

    private void TakeCopy(ModelSilo silo, int block)
    {
        var key = TestBlocks.Keys[block];
        if (!silo.Store.Contains(key) && silo.Members.Holders(silo.Directory.Index.HoldersOf(key)) is { Count: > 0 } holders)
            Fetch(silo, Find(holders[0].Address), block, copy: true);
    }

    // As Replicator and the agent that it asks do.
    private void Replicate(ModelSilo silo, int block)
    {
        var key = TestBlocks.Keys[block];
        if (silo.Replicator.MissingCopies(key) <= 0 || silo.Replicator.Target(key) is not { } peer)
            return;
        var target = Find(peer.Address);
        Network.Send(new Message("take a copy", block, silo.Node, target.Node, Take, Lost: null, Repeatable: true));

        void Take()
        {
            if (target.Members.Find(silo.SiloAddress) is not null && !target.Store.Contains(key))
                Fetch(target, silo, block, copy: false);
        }
    }

    private void Fetch(ModelSilo reader, ModelSilo holder, int block, bool copy)
    {
        var key = TestBlocks.Keys[block];
        Network.Send(new Message("get", block, reader.Node, holder.Node, Send, Lost: null, Repeatable: true));

        void Send()
        {
            using var lease = holder.Store.TryLease(key);
            if (lease is null)
                return;

            // Times travel in milliseconds; see BlockConnection.WritePeerHeader.
            DateTimeOffset? expires = lease.ExpiresAt is { } end
                ? DateTimeOffset.FromUnixTimeMilliseconds(end.ToUnixTimeMilliseconds())
                : null;
            if (Mutation == Mutation.RenewsLives && expires is not null)
                expires = reader.Clock.GetUtcNow() + TimeSpan.FromSeconds(20);
            var header = new PeerBlockHeader(key, lease.Generation, lease.Layout, expires, lease.Durability, lease.Lineage);
            var bytes = lease.Bytes.ToArray();
            Network.Send(new Message("block", block, holder.Node, reader.Node, () => Receive(header, bytes), Lost: null, Repeatable: true));
        }

        void Receive(PeerBlockHeader header, byte[] bytes)
        {
            if (reader.Fetcher.Reserve(header, copy) is { } write)
                _arrivals.Add(new Arrival(reader, header, write, bytes));
        }
    }

    private void FinishArrival()
    {
        if (_arrivals.Count > 0)
            Finish(_dice.Pick(_arrivals), intact: _dice.Chance(95));
    }

    private void Finish(Arrival arrival, bool intact)
    {
        Trace.Add($"S{arrival.Silo.Node} has a copy of K{TestBlocks.NumberOf(arrival.Header.Key)}, {(intact ? "intact" : "damaged")}");
        _arrivals.Remove(arrival);
        arrival.Bytes.CopyTo(arrival.Write.Bytes);
        BlockChecksum.ComputeLayers(arrival.Write.Bytes, TestBlocks.Layout, arrival.Write.Checksums);
        arrival.Silo.Fetcher.Publish(arrival.Header, arrival.Write, intact);
        arrival.Write.Dispose();
    }

    private void ScanRedis(ModelSilo silo)
    {
        Network.Send(new Message("SCAN", -1, silo.Node, ModelRedis.Node, Find, Lost: null, Repeatable: false));

        void Find()
        {
            if (Redis.IsAway)
                return;
            var keys = Redis.Keys.ToArray();
            Network.Send(
                new Message("answer to SCAN", -1, ModelRedis.Node, silo.Node, () => Array.ForEach(keys, silo.Directory.FoundInRedis),
                Lost: null, Repeatable: false));
        }
    }

    private static string Words(ReadOnlySpan<IndexDelta> deltas)
    {
        var words = new List<string>();
        foreach (ref readonly var delta in deltas)
            words.Add($"{delta.Operation} K{TestBlocks.NumberOf(delta.Key)}");
        return string.Join(", ", words);
    }

    private sealed class FullCopy(ModelSilo reader, PeerSilo peer, ModelSilo sender, DirectorySnapshot snapshot)
    {
        public ModelSilo Reader => reader;

        public PeerSilo Peer => peer;

        public ModelSilo Sender => sender;

        public DirectorySnapshot Snapshot => snapshot;

        public List<IndexDelta> Unsent { get; } = [];

        public ulong Sequence { get; set; } = snapshot.Sequence;

        public int Pages { get; set; }

        public ulong Ticket { get; set; }
    }

    private sealed record Arrival(ModelSilo Silo, PeerBlockHeader Header, BlockWrite Write, byte[] Bytes);
}
