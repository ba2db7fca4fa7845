using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;

namespace KvCache.SimulationTests.Worlds;

/// <content>What can happen.</content>
internal sealed partial class World
{
    private void Act()
    {
        var roll = _dice.Next(100);
        if (roll < 45 && Network.Count > 0)
            Transport();
        else if (roll < 66)
            Serve();
        else if (roll < 90)
            Work();
        else
            Disturb();
    }

    private void Transport()
    {
        if (_dice.Chance(30))
        {
            // A quiet moment.
            for (var left = 2 + _dice.Next(6); left > 0 && Network.Count > 0; left--)
            {
                Network.DeliverOldest();
                Settle();
                _rules.Check();
            }

            return;
        }

        var index = _dice.Next(Network.Count);
        switch (_dice.Next(20))
        {
            case 0:
                Network.Drop(index);
                break;
            case 1:
                Network.Repeat(index);
                break;
            default:
                Network.Deliver(_dice.Chance(50) ? 0 : index);
                break;
        }
    }

    private void Serve()
    {
        var silo = AnySilo();
        var block = _dice.Next(TestBlocks.Count);
        switch (_dice.Next(16))
        {
            case < 4:
                BeginPut(silo, block);
                break;
            case < 7:
                FinishPut();
                break;
            case 7:
                BeginInline(silo, block);
                break;
            case 8:
                AdvanceInline();
                break;
            case 9:
            case 10:
                Read(silo, block);
                break;
            case 11:
                Delete(silo, block);
                break;
            case 12:
                SetLife(silo, block);
                break;
            case 13:
                Trace.Add($"S{silo.Node} pins K{block}");
                silo.Store.Pin(TestBlocks.Keys[block], TimeSpan.FromMilliseconds(_dice.Next(3000)));
                break;
            default:
                Trace.Add($"S{silo.Node} wants K{block} from Redis");
                silo.Redis.Prefetch(TestBlocks.Keys[block]);
                break;
        }
    }

    private void Work()
    {
        var silo = AnySilo();
        var block = _dice.Next(TestBlocks.Count);
        switch (_dice.Next(12))
        {
            case < 3:
                Poll(silo);
                Poll(silo);
                break;
            case 3:
                for (var chunks = 1 + _dice.Next(5); chunks > 0; chunks--)
                    AdvanceFullCopy();
                break;
            case 4:
                TakeCopy(silo, block);
                break;
            case 5:
                Replicate(silo, block);
                break;
            case 6:
                FinishArrival();
                break;
            case 7:
                ScanRedis(silo);
                break;
            default:
                WorkOnTier(silo);
                break;
        }
    }

    private bool WorkOnTier(ModelSilo silo)
    {
        var tier = silo.Tier;
        if (tier.CanPublish)
            tier.PublishLoaded();
        else if (tier.CanDelete)
            _ = tier.DeleteWaitingAsync();
        else if (tier.CanExpire)
            _ = tier.ExpireNextAsync();
        else if (tier.CanRead)
            _ = tier.ReadAsync();
        else if (tier.CanWrite)
            _ = tier.WriteAsync();
        else
            return false;
        return true;
    }

    private void Disturb()
    {
        switch (_dice.Next(24))
        {
            case < 10:
                PassTime();
                break;
            case < 14 when _notices.Count > 0:
                Notice(_dice.Next(_notices.Count));
                break;
            case 14:
                Trace.Add($"Redis is {(Redis.IsAway ? "back" : "away")}");
                Redis.IsAway = !Redis.IsAway;
                break;
            case 15 when _dice.Chance(30):
                Trace.Add($"Redis loses everything");
                Redis.Lose();
                break;
            case 16 when _dice.Chance(60) && Alive.Count() > 1:
                Crash(AnySilo());
                break;
            case 17 or 18 when Alive.Count() < MaxSilos && _silos.Count < MaxSilosEver:
                Join();
                break;
            case 19:
                Evict(AnySilo());
                break;
            case 20 when Grains.Activations.Any():
                LoseActivation(_dice.Pick(Grains.Activations.ToArray()));
                break;
            case 21:
                AnySilo().Clock.Tick();
                break;
            default:
                AnySilo().Store.Sweep();
                break;
        }
    }

    private void PassTime()
    {
        var by = TimeSpan.FromMilliseconds(_dice.Next(12) switch
        {
            < 8 => 1 + _dice.Next(20),
            < 11 => _dice.Next(5000),
            _ => 31_000,
        });
        if (Time.Elapsed + by > LongestSchedule)
            return;
        Trace.Add($"{by.TotalMilliseconds} ms pass");
        Time.Advance(by);
    }

    private void Evict(ModelSilo silo)
    {
        Trace.Add($"S{silo.Node} evicts what it can");
        silo.Store.Clear();
    }

    private void LoseActivation(Activation activation)
    {
        if (activation.IsIdle && activation.Silo.Clock.GetUtcNow() - activation.LastUsed > TimeSpan.FromMinutes(1))
        {
            Trace.Add($"the grain of K{activation.Block} is deactivated");
            Grains.Deactivate(activation);
        }
        else if (_dice.Chance(20))
        {
            Trace.Add($"the directory forgets the grain of K{activation.Block}");
            Grains.Forget(activation);
        }
    }
}
