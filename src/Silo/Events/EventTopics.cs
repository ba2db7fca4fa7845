using System.Text;

namespace KvCache.Silo.Events;

/// <summary>
/// Topics of namespaces, with the numbers of their messages. Kept for so many namespaces of each tenant: whoever makes more of them hears
/// nothing of the further ones, as a topic without numbers in order would be worse, and no other tenant does for its sake.
/// </summary>
/// <param name="prefix">How every topic begins.</param>
/// <param name="mostOfTenant">Namespaces of one tenant.</param>
internal sealed class EventTopics(string prefix, int mostOfTenant)
{
    private readonly Dictionary<NamespaceId, Topic> _topics = [];
    private readonly Dictionary<TenantId, int> _counts = [];

    /// <summary>The namespaces that have a topic.</summary>
    public IReadOnlyCollection<NamespaceId> Namespaces => _topics.Keys;

    /// <summary>The topic of a namespace; null when its tenant has too many.</summary>
    public Topic? Of(NamespaceId ns)
    {
        if (_topics.TryGetValue(ns, out var topic))
            return topic;
        var count = _counts.GetValueOrDefault(ns.Tenant);
        if (count >= mostOfTenant)
            return null;
        _counts[ns.Tenant] = count + 1;
        return _topics[ns] = new Topic(Encoding.UTF8.GetBytes(prefix + ns));
    }

    /// <summary>One topic.</summary>
    public sealed class Topic(byte[] name)
    {
        public byte[] Name => name;

        /// <summary>Number of the next message.</summary>
        public ulong Next { get; set; }
    }
}
