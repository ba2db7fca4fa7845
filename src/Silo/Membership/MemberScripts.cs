namespace KvCache.Silo.Membership;

/// <summary>
/// What happens to the list of members within Redis, each as one step. The list is a hash: <c>list</c> (a random id of this list: a Redis
/// that has forgotten it gets another one), <c>version</c>, a row for each silo, and <c>alive:SILO</c>.
/// </summary>
internal static class MemberScripts
{
    /// <summary>All of it, behind Redis' time.</summary>
    public static ReadOnlySpan<byte> Read => """
        local all = redis.call('HGETALL', KEYS[1])
        local time = redis.call('TIME')
        table.insert(all, 1, time[1])
        table.insert(all, 2, time[2])
        return all
        """u8;

    /// <summary>Makes the list where there is none. Arguments: id.</summary>
    public static ReadOnlySpan<byte> Create => """
        redis.call('HSETNX', KEYS[1], 'version', '0')
        return redis.call('HSETNX', KEYS[1], 'list', ARGV[1])
        """u8;

    /// <summary>Writes a row. Arguments: version that is expected, next version, silo, row, 1 when there must be none yet.</summary>
    public static ReadOnlySpan<byte> Write => """
        if (redis.call('HGET', KEYS[1], 'version') or '0') ~= ARGV[1] then return 0 end
        if ARGV[5] == '1' and redis.call('HEXISTS', KEYS[1], ARGV[3]) == 1 then return 0 end
        redis.call('HSET', KEYS[1], 'version', ARGV[2], ARGV[3], ARGV[4])
        return 1
        """u8;

    /// <summary>Says that a silo lives. Arguments: silo.</summary>
    public static ReadOnlySpan<byte> Alive => """
        if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
        local time = redis.call('TIME')
        redis.call('HSET', KEYS[1], 'alive:' .. ARGV[1], string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000)))
        return 1
        """u8;

    /// <summary>Writes again what Redis has forgotten, under a version that nobody has seen. Arguments: latest version that was seen, id
    /// where there is none, then silos and rows.</summary>
    public static ReadOnlySpan<byte> Restore => """
        local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
        if version < tonumber(ARGV[1]) then version = tonumber(ARGV[1]) end
        redis.call('HSETNX', KEYS[1], 'list', ARGV[2])
        for i = 3, #ARGV, 2 do redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1]) end
        redis.call('HSET', KEYS[1], 'version', string.format('%d', version + 1))
        return version + 1
        """u8;

    /// <summary>Forgets silos. Arguments: silos.</summary>
    public static ReadOnlySpan<byte> Remove => """
        local gone = 0
        for i = 1, #ARGV do gone = gone + redis.call('HDEL', KEYS[1], ARGV[i], 'alive:' .. ARGV[i]) end
        return gone
        """u8;
}
