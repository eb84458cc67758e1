"""Rules about Pods, rewritten for the controllers that make Pods: Deployments, Jobs, CronJobs and the like.

A rule for a Pod alone would reject the Pods of a Deployment one by one, out of the user's sight; the rewritten rule
rejects the Deployment. Which rules are rewritten, their names and the rewriting itself follow Kyverno to the byte,
false positives included, because results and exceptions name these rules.
"""
