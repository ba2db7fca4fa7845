using KvCache.Silo.Connections;
using Microsoft.AspNetCore.Connections;

namespace KvCache.Silo.Security;

/// <summary>Connections of a port that have not proved themselves yet: a bounded number, the oldest of which goes for a new one.</summary>
internal sealed class UnprovenConnections(int most)
{
    private readonly LinkedList<ConnectionContext> _waiting = [];

    public LinkedListNode<ConnectionContext> Enter(ConnectionContext connection)
    {
        ConnectionContext? oldest = null;
        LinkedListNode<ConnectionContext> place;
        lock (_waiting)
        {
            if (_waiting.Count >= most)
            {
                oldest = _waiting.First!.Value;
                _waiting.RemoveFirst();
            }

            place = _waiting.AddLast(connection);
        }

        oldest?.Abort();
        return place;
    }

    public void Leave(LinkedListNode<ConnectionContext> place)
    {
        lock (_waiting)
        {
            if (place.List is not null)
                _waiting.Remove(place);
        }
    }
}
