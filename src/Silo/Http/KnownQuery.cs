using System.Reflection;
using KvCache.Settings;
using Microsoft.AspNetCore.Mvc;

namespace KvCache.Silo.Http;

/// <summary>Refuses query parameters that nobody reads: a misspelt one would otherwise be left out silently.</summary>
internal static class KnownQuery
{
    public static EndpointFilterDelegate Check(EndpointFilterFactoryContext context, EndpointFilterDelegate next)
    {
        var known = context.MethodInfo.GetParameters()
            .SelectMany(parameter => parameter.GetCustomAttribute<AsParametersAttribute>() is null
                ? [parameter.GetCustomAttribute<FromQueryAttribute>()]
                : parameter.ParameterType.GetProperties().Select(property => property.GetCustomAttribute<FromQueryAttribute>()))
            .OfType<FromQueryAttribute>().Select(query => query.Name!).ToArray();
        return call =>
        {
            foreach (var name in call.HttpContext.Request.Query.Keys)
            {
                if (!known.Contains(name, StringComparer.OrdinalIgnoreCase))
                    throw new HttpProblemException(HttpProblem.Invalid(Explain(HttpProblem.Shorten(name), known)));
            }

            return next(call);
        };
    }

    private static string Explain(string name, string[] known) => known.Length == 0
        ? $"The query parameter '{name}' is not read; this request has none."
        : $"The query parameter '{name}' is not read; perhaps '{NearestName.Of(name, known)}' was meant. There are "
            + $"{string.Join(", ", known)}.";
}
