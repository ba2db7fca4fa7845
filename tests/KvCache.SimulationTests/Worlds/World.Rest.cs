using KvCache.Engine.Storage;
using KvCache.Silo.Data;
using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <content>How a schedule comes to rest: everything arrives, everything that was begun ends.</content>
internal sealed partial class World
{
    private const int MostRounds = 2000;

    private void Rest()
    {
        Redis.IsAway = false;
        for (var round = 0; ; round++)
        {
            Rules.IsTrue(round < MostRounds, $"the cluster does not come to rest");
            if (!GoOn())
                return;
            Settle();
            _rules.Check();
        }
    }

    private bool GoOn()
    {
        NoticeAll();
        if (Network.Count > 0)
            Network.DeliverOldest();
        else if (_puts.Find(put => put.End is null) is { } put)
            FinishPut(put, intact: true);
        else if (_arrivals.Count > 0)
            Finish(_arrivals[0], intact: true);
        else if (_fullCopies.Count > 0)
            Advance(_fullCopies[0]);
        else if (!EndClients() && !Alive.Any(WorkOnTier) && !PollWhoLags())
            return false;
        return true;
    }

    private bool EndClients()
    {
        foreach (var (_, lease) in _reads)
        {
            _rules.CheckContent(lease);
            lease.Dispose();
        }

        var left = _inlines.FindAll(inline => inline.Begin.IsCompletedSuccessfully && inline.Seal is null);
        foreach (var inline in left)
            _ = inline.Reference.AbandonAsync(inline.Begin.Result.Generation, default).AsTask();
        _inlines.Clear();
        var any = _reads.Count + left.Count > 0;
        _reads.Clear();
        return any;
    }

    private bool PollWhoLags()
    {
        foreach (var silo in Alive)
        {
            foreach (var peer in silo.Members.Peers)
            {
                var other = Find(peer.Address);
                if (!other.IsAlive || (peer.Replica.IsLive && peer.Replica.Next == other.Directory.Log.Next))
                    continue;
                Poll(silo, peer);
                return true;
            }
        }

        return false;
    }

    // Nothing that happened keeps a block from being stored again.
    private void TryEveryBlock()
    {
        for (var block = 0; block < TestBlocks.Count; block++)
        {
            var put = BeginPut(AnySilo(), block, new BlockTerms(Durability: new BlockDurability(1, Persisted: true)));
            var outcome = put.Pending.Refusal;
            if (put.Write is not null)
            {
                FinishPut(put, intact: true);
                for (var left = MostRounds; !put.End!.IsCompleted && left > 0 && GoOn(); left--)
                    Settle();
                Rules.IsTrue(put.End.IsCompleted, $"K{block} can be stored no more: no answer");
                outcome = put.End.Result;
                Settle();
            }

            Rules.IsTrue(outcome is PutOutcome.Stored or PutOutcome.AlreadyStored, $"K{block} can be stored no more: {outcome}");
            Rest();
        }
    }
}
